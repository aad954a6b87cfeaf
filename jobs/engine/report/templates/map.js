
// The map: its filters, the tip under the pointer, and the story of the chosen sample. All text is set as text.
const explore = (chart, samples, names) => {
  const filters = Object.keys(names).map((name) => [samples[name], the("map-" + name)]);
  const size = samples.id.length, x = Array(size), y = Array(size), isKept = samples.rank.map((rank) => rank > 0);
  for (const trace of chart.data)
    (trace.customdata || []).forEach((number, place) => { x[number] = trace.x[place]; y[number] = trace.y[place]; });
  const last = (number) => [samples.rank[number] || Infinity, -(samples.score[number] ?? -Infinity), number];
  const keys = samples.id.map((_, number) => last(number));
  const order = samples.id.map((_, number) => number).sort((one, two) =>
    keys[one][0] - keys[two][0] || keys[one][1] - keys[two][1] || one - two);
  let shown = order, chosen = -1;

  const element = (tag, kind, text) => {
    const made = document.createElement(tag);
    made.className = kind;
    made.textContent = text;
    return made;
  };
  const message = (text) => {
    const made = element("pre", "", text);
    made.dir = "auto";
    made.lang = "";
    return made;
  };
  const nothing = the("map-story").firstElementChild;

  // A trace for the ring would make plotly draw all points again.
  const ring = the("map-ring");
  const mark = () => {
    const {xaxis, yaxis} = chart._fullLayout;
    const left = chosen < 0 ? -1 : xaxis.l2p(x[chosen]), top = chosen < 0 ? -1 : yaxis.l2p(y[chosen]);
    ring.hidden = left < 0 || top < 0 || left > xaxis._length || top > yaxis._length;
    ring.style.left = chart.offsetLeft + xaxis._offset + left + "px";
    ring.style.top = chart.offsetTop + yaxis._offset + top + "px";
  };
  const choose = (number) => {
    chosen = number;
    mark();
    const story = the("map-story");
    story.className = "panel sample " + (number < 0 ? "" : names.state[samples.state[number]]);
    if (number < 0) return story.replaceChildren(nothing);
    const header = document.createElement("header");
    const score = samples.score[number];
    header.append(
      element("b", "", names.state[samples.state[number]] + (isKept[number] ? ", rank " + samples.rank[number].toLocaleString("en") : "")),
      element("span", "", score === null ? "not scored" : "score " + score),
      element("span", "", names.reason[samples.reason[number]]));
    const place = names.source[samples.source[number]] + (samples.line[number] === null ? "" : ":" + samples.line[number]);
    story.replaceChildren(header, element("div", "where", place + ", id " + samples.id[number] + ", " + names.script[samples.script[number]]),
      ...samples.text[number].flatMap(([role, text]) => [element("div", "role", role), message(text)]));
  };

  const filter = () => {
    const passes = (number) => filters.every(([values, select]) => !select.value || values[number] === Number(select.value));
    shown = order.filter(passes);
    const shownKept = shown.filter((number) => isKept[number]);
    const traces = [order.filter((number) => !passes(number)), shown.filter((number) => !isKept[number]), shownKept];
    const of = (values) => traces.map((trace) => trace.map((number) => values[number]));
    Plotly.restyle(chart, {x: of(x), y: of(y), customdata: traces}, [0, 1, 2]);
    the("map-count").textContent = `${shown.length.toLocaleString("en")} of ${size.toLocaleString("en")} samples shown, ` +
      `${shownKept.length.toLocaleString("en")} of them kept.`;
    if (chosen >= 0 && !passes(chosen)) choose(-1);
  };

  const step = (by) => {
    if (!shown.length) return;
    const place = shown.indexOf(chosen);
    choose(shown[place < 0 ? 0 : (place + by + shown.length) % shown.length]);
  };
  // The nearest sample in a direction; one that lies aside of it counts as farther away.
  const move = (right, up) => {
    if (chosen < 0) return step(1);
    let best = Infinity, next = chosen;
    for (const number of shown) {
      const dx = x[number] - x[chosen], dy = y[number] - y[chosen];
      const along = dx * right + dy * up, aside = Math.abs(dx * up) + Math.abs(dy * right);
      if (along > 0 && along + 2 * aside < best) { best = along + 2 * aside; next = number; }
    }
    choose(next);
  };
  const whole = chart.layout.xaxis.range.slice();
  const zoom = (factor) => {
    const {xaxis, yaxis} = chart.layout;
    const range = (axis, at) => {
      const middle = chosen < 0 ? (axis.range[0] + axis.range[1]) / 2 : at[chosen];
      const half = factor * (axis.range[1] - axis.range[0]) / 2;
      return [middle - half, middle + half];
    };
    Plotly.relayout(chart, {"xaxis.range": factor ? range(xaxis, x) : whole.slice(), "yaxis.range": factor ? range(yaxis, y) : whole.slice()});
  };

  const actions = {
    ArrowRight: () => move(1, 0), ArrowLeft: () => move(-1, 0), ArrowUp: () => move(0, 1), ArrowDown: () => move(0, -1),
    Enter: () => step(1), Escape: () => choose(-1), "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: () => zoom(0)
  };
  chart.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  for (const [name, action] of Object.entries({in: "+", out: "-", whole: 0}))
    the("map-" + name).addEventListener("click", actions[action]);
  the("map-before").addEventListener("click", () => step(-1));
  the("map-after").addEventListener("click", () => step(1));
  for (const [, select] of filters) select.addEventListener("change", filter);

  const tip = the("map-tip");
  let touched = false;  // a finger does not hover: a tap is a click, and would leave the tip behind
  chart.addEventListener("touchstart", () => { touched = true; tip.hidden = true; }, {passive: true});
  chart.on("plotly_click", (event) => choose(event.points[0].customdata));
  chart.on("plotly_hover", (event) => {
    if (touched) return;
    tip.replaceChildren(...samples.text[event.points[0].customdata].slice(0, 2).map(([, text]) =>
      message(text.length > 160 ? [...text].slice(0, 160).join("") + " …" : text)));
    tip.hidden = false;
    const {clientX, clientY} = event.event;
    tip.style.left = Math.max(8, Math.min(clientX + 14, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (clientY + 14 + tip.offsetHeight > innerHeight ? clientY - 14 - tip.offsetHeight : clientY + 14) + "px";
  });
  chart.on("plotly_afterplot", mark);
  chart.on("plotly_unhover", () => { tip.hidden = true; });
  // A finger that drags over the map scrolls the page.
  if (matchMedia("(pointer: coarse)").matches) Plotly.relayout(chart, {dragmode: false});
  filter();
};
if (the("samples")) {
  const {samples, names} = JSON.parse(the("samples").textContent);
  explore(the("chart-map"), samples, names);
}
