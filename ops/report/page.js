"use strict";
(() => {
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    // Named one by one: Plotly's own choice has one that sends the figure to somebody's cloud.
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };
  const panels = [...document.querySelectorAll(".panel")];

  function show(panel, place) {
    const views = panel.querySelectorAll("script[type='application/json']");
    const plot = panel.querySelector(".plot");
    const figure = JSON.parse(views[place].textContent);
    plot.dataset.height = figure.layout.height;
    plot.dataset.minWidth = `${views[place].dataset.width}px`;
    plot.style.height = `${figure.layout.height}px`;
    plot.style.minWidth = plot.dataset.minWidth;
    for (const button of panel.querySelectorAll(".choice button")) {
      button.setAttribute("aria-pressed", String(button.value === String(place)));
    }
    return Plotly.newPlot(plot, figure.data, figure.layout, CONFIG);
  }

  for (const panel of panels) {
    panel.querySelector(".choice")?.addEventListener(panel.querySelector("select") ? "change" : "click", (event) => {
      if (event.target.value) show(panel, Number(event.target.value));
    });
  }

  // One after the other, with time between for the reader to scroll.
  async function drawAll() {
    for (const panel of panels) {
      await show(panel, 0);
      await new Promise((resume) => setTimeout(resume));
    }
    document.documentElement.dataset.drawn = "true";
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const anchors = [...document.querySelectorAll("header, main section")];
  function mark() {
    const line = window.scrollY + window.innerHeight / 3;
    let here = anchors[0];
    for (const anchor of anchors) if (anchor.offsetTop <= line) here = anchor;
    if (window.scrollY + window.innerHeight >= document.body.scrollHeight - 2) here = anchors[anchors.length - 1];
    for (const [name, link] of links) link.classList.toggle("here", name === here.id);
  }
  window.addEventListener("scroll", mark, { passive: true });
  mark();

  // A page of paper, A4 across, is narrower than a screen, and ends.
  const PAPER = { width: 1010, height: 580 };
  function resize(printed) {
    for (const panel of panels) {
      const plot = panel.querySelector(".plot");
      if (!plot.data) continue;
      const full = Number(plot.dataset.height);
      const height = printed ? Math.min(full, PAPER.height) : full;
      plot.style.height = `${height}px`;
      plot.style.minWidth = printed ? "0" : plot.dataset.minWidth;
      Plotly.relayout(plot, { height, width: printed ? PAPER.width : null, autosize: !printed });
    }
  }
  window.addEventListener("beforeprint", () => resize(true));
  window.addEventListener("afterprint", () => resize(false));

  drawAll();
})();
