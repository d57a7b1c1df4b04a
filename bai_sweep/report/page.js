// Draws the figures in the reader's theme as they come into view, and once more when the theme changes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set();
  const drawn = new Set();
  const PRINT = { paper: "#ffffff", ink: "#1c1e21", muted: "#5f6670", line: "#dfe3e8" };

  function fill(plot, theme, variable) {
    const filled = JSON.stringify({ traces: plot.traces, layout: plot.layout })
      .replaceAll(/"(slot|hue):(\d+)"/g, (_, kind, place) => {
        const list = data.colours[theme][kind];
        return JSON.stringify(list[place % list.length]);
      })
      .replaceAll(/"var:(\w+)"/g, (_, name) => JSON.stringify(variable(name)));
    return JSON.parse(filled);
  }

  function draw(plot, printing) {
    const css = getComputedStyle(document.body);
    const variable = (name) => (printing ? PRINT[name] : css.getPropertyValue(`--${name}`).trim());
    const { traces, layout } = fill(plot, dark.matches && !printing ? "dark" : "light", variable);
    const axis = {
      gridcolor: variable("line"), linecolor: variable("line"), zeroline: false, automargin: true,
      tickfont: { color: variable("muted"), size: 12 },
    };
    const title = { font: { color: variable("muted"), size: 12.5 }, standoff: 8 };
    const merged = (own) => ({ ...axis, ...own, title: { ...title, ...own.title } });
    drawn.add(plot);
    return Plotly.react(plot.key, traces.map((t) => ({ ...t, visible: !hidden.has(String(t.meta)) })), {
      ...layout,
      xaxis: { showgrid: false, showline: true, ...merged(layout.xaxis) },
      yaxis: { nticks: 6, ...merged(layout.yaxis) },
      margin: { l: 44, r: 8, t: 12, b: 40 }, bargap: 0.22,
      showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css.fontFamily, color: variable("ink") },
      hoverlabel: { font: { family: css.fontFamily } },
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  const again = (printing) => drawn.forEach((plot) => draw(plot, printing));

  document.querySelectorAll(".legend button").forEach((button) => {
    button.addEventListener("click", () => {
      const slot = button.dataset.slot;
      if (!hidden.delete(slot)) hidden.add(slot);
      document.querySelectorAll(`.legend button[data-slot="${slot}"]`)
        .forEach((twin) => twin.setAttribute("aria-pressed", String(!hidden.has(slot))));
      again(false);
    });
  });
  dark.addEventListener("change", () => again(false));
  // Where the page has images for paper, they are printed; else the figures are, in light.
  addEventListener("beforeprint", () => { if (!document.querySelector("img.paper")) data.plots.forEach((plot) => draw(plot, true)); });
  addEventListener("afterprint", () => again(false));

  const byKey = new Map(data.plots.map((plot) => [plot.key, plot]));
  const watcher = new IntersectionObserver((entries) => entries.filter((e) => e.isIntersecting).forEach((entry) => {
    watcher.unobserve(entry.target);
    draw(byKey.get(entry.target.id), false);
  }), { rootMargin: "800px" });
  byKey.forEach((_, key) => watcher.observe(document.getElementById(key)));
})();
