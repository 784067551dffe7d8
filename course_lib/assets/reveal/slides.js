// Starts reveal.js; makes a slide that is too tall or too wide smaller. If that is not enough, words
// in its tables may break and it may scroll.
(() => {
  "use strict";
  const STEPS = [1, 0.92, 0.85, 0.78, 0.72];

  function over(slide) {
    const wide = [...slide.querySelectorAll("table")].some((t) => t.offsetWidth > slide.clientWidth);
    return wide || slide.scrollHeight > slide.clientHeight + 1;
  }

  function fit(slide) {
    if (!slide || slide.classList.contains("stack") || slide.dataset.fitted) return;
    for (const step of STEPS) {
      slide.style.setProperty("--fit", step);
      if (!over(slide)) break;
    }
    slide.classList.toggle("tight", over(slide));
    slide.dataset.fitted = "yes";
    // A slide that still scrolls can be reached by keyboard.
    if (slide.scrollHeight > slide.clientHeight + 1) slide.tabIndex = 0;
  }

  function dark(on) {
    document.documentElement.classList.toggle("dark", on);
  }

  window.fitSlide = fit;
  dark(new URLSearchParams(location.search).has("dark"));
  Reveal.initialize({
    width: 960, height: 700, margin: 0.03, center: false, hash: true,
    slideNumber: "c/t", transition: "none", plugins: [RevealNotes],
  }).then(() => {
    fit(Reveal.getCurrentSlide());
    Reveal.on("slidechanged", (event) => fit(event.currentSlide));
    Reveal.addKeyBinding({ keyCode: 68, key: "D", description: "Dark or light" }, () =>
      dark(!document.documentElement.classList.contains("dark")));
  });
})();
