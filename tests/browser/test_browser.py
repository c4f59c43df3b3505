"""The browser itself: it runs scripts and draws in 3D, or no test below means much."""


def test_the_browser_runs_scripts_and_has_webgl2(page):
    page.set_content("<canvas id=c></canvas><p id=p></p><script>p.innerText = 6 * 7</script>")
    assert page.inner_text("#p") == "42"
    assert page.evaluate("document.getElementById('c').getContext('webgl2') !== null")
