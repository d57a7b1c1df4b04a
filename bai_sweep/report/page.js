// Draws the figures in the reader's theme, and once more when it changes or the page is printed.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hidden = new Set();
  const PRINT = { paper: "#ffffff", ink: "#1c1e21", muted: "#5f6670", line: "#dfe3e8" };

  function fill(plot, theme, variable) {
    const filled = JSON.stringify({ traces: plot.traces, layout: plot.layout })
      .replaceAll(/"slot:(\d+)"/g, (_, slot) => JSON.stringify(data.slots[theme][slot]))
      .replaceAll(/"var:(\w+)"/g, (_, name) => JSON.stringify(variable(name)));
    return JSON.parse(filled);
  }

  function draw(printing) {
    const css = getComputedStyle(document.body);
    const variable = (name) => (printing ? PRINT[name] : css.getPropertyValue(`--${name}`).trim());
    const theme = dark.matches && !printing ? "dark" : "light";
    const axis = {
      gridcolor: variable("line"), linecolor: variable("line"), zeroline: false, automargin: true,
      tickfont: { color: variable("muted"), size: 12 },
    };
    const title = { font: { color: variable("muted"), size: 12.5 }, standoff: 8 };
    return Promise.all(data.plots.map((plot) => {
      const { traces, layout } = fill(plot, theme, variable);
      const x = layout.xaxis;
      return Plotly.react(plot.key, traces.map((t) => ({ ...t, visible: !hidden.has(String(t.meta)) })), {
        ...layout,
        xaxis: { ...axis, showgrid: false, showline: true, ...x, title: { ...title, ...x.title } },
        yaxis: { ...axis, nticks: 6 },
        margin: { l: 44, r: 8, t: 10, b: 44 },
        showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: css.fontFamily, color: variable("ink") },
        hoverlabel: { font: { family: css.fontFamily } },
      }, { responsive: true, displaylogo: false, displayModeBar: false });
    }));
  }

  document.querySelectorAll(".legend button").forEach((button) => {
    button.addEventListener("click", () => {
      const slot = button.dataset.slot;
      if (!hidden.delete(slot)) hidden.add(slot);
      document.querySelectorAll(`.legend button[data-slot="${slot}"]`)
        .forEach((twin) => twin.setAttribute("aria-pressed", String(!hidden.has(slot))));
      draw(false);
    });
  });
  dark.addEventListener("change", () => draw(false));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw(false));
  draw(false);
})();
