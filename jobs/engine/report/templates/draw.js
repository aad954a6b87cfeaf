
const the = (name) => document.getElementById(name);
for (const figure of JSON.parse(the("figures").textContent))
  Plotly.newPlot("chart-" + figure.name, figure.data, figure.layout, {responsive: true, displayModeBar: false});
// A chart on paper has the width of its place there, which a browser computes too late.
const charts = document.querySelectorAll(".chart");
addEventListener("beforeprint", () => charts.forEach((chart) =>
  Plotly.relayout(chart, {autosize: false, width: chart.closest(".wide, .explorer") ? 640 : 300})));
addEventListener("afterprint", () => charts.forEach((chart) => Plotly.relayout(chart, {autosize: true, width: null})));
