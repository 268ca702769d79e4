// Draws the figures, moves the sliders, sorts the runs. Numbers come from #data alone.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (name) => document.getElementById(name);
const LEVELS = [0.001, 0.003, 0.01, 0.03, 0.1];

// Numbers in words, as fitting.units writes them.
function digits(value, count) {
  return String(Number(value.toPrecision(count)));
}
function count(value) {
  for (const [unit, letter] of [[1e15, "P"], [1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= unit) {
      return value >= 1e18 ? small(value) : digits(value / unit, 3) + letter;
    }
  }
  return digits(value, 3);
}
function small(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 0.01 && size < 1e5) return digits(value, 3);
  const [mantissa, exponent] = value.toExponential(2).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}
const show = (quantity) => (quantity === "lr" ? small : count);
const percent = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)}%`;
// Plotly reads tags in its texts; names come from files.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

// The surface, by the formula of fitting/laws/surface.py with lr and batch alone left free.
function penalty(surface, lr, batch) {
  const x = Math.log(lr / surface.at[0]);
  const y = Math.log(batch / surface.at[1]);
  let q = 0;
  for (const [log, g, h] of surface.terms) q += Math.exp(log + g * x + h * y);
  return Math.log1p(q);
}
const costOf = (surface, lr, batch) => Math.expm1(penalty(surface, lr, batch) - surface.least);

// How many of LEVELS a cost is above, straight in its log between them.
function step(cost) {
  const log = Math.log(Math.max(cost, 1e-6));
  const next = LEVELS.findIndex((level) => cost < level);
  const above = next === -1 ? LEVELS.length - 1 : Math.max(next, 1);
  const [low, high] = [Math.log(LEVELS[above - 1]), Math.log(LEVELS[above])];
  return above - 1 + (log - low) / (high - low);
}

function spread(low, high, number) {
  const step = Math.log(high / low) / (number - 1);
  return Array.from({ length: number }, (_, place) => low * Math.exp(step * place));
}

// Figures: layout and ticks.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["paper", "raised", "ink", "muted", "faint", "law", "band", "measured", "target", "low", "high"];
  return Object.fromEntries(names.map((name) => [name, colour(name)]));
}
function logTicks(low, high, words, most) {
  for (const mantissas of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const values = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const mantissa of mantissas) {
        const value = Number(`${mantissa}e${power}`);
        if (value >= low * 0.999 && value <= high * 1.001) values.push(value);
      }
    }
    if (values.length <= most) return { tickvals: values, ticktext: values.map(words) };
  }
  const powers = [];
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power += 2) powers.push(10 ** power);
  return { tickvals: powers, ticktext: powers.map(words) };
}
function evenTicks(top) {
  const power = 10 ** Math.floor(Math.log10(top));
  const size = [0.2, 0.5, 1, 2].find((share) => top / (share * power) <= 6) * power;
  const values = Array.from({ length: Math.floor(top / size + 1e-9) + 1 }, (_, place) => Number((place * size).toPrecision(6)));
  return { tickvals: values, ticktext: values.map(small) };
}
function axis(colours, title, more) {
  return {
    title: { text: title, font: { size: 13 }, standoff: 8 }, gridcolor: colours.faint,
    linecolor: colours.muted, zeroline: false, automargin: true, fixedrange: true,
    tickfont: { size: 12 }, showline: true, ticks: "outside", tickcolor: colours.muted, ticklen: 4,
    ...more,
  };
}
function logAxis(colours, title, range, words, most) {
  return axis(colours, title, {
    type: "log", range: range.map(Math.log10), ...logTicks(range[0], range[1], words, most),
  });
}
function layout(colours, x, y, more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colours.ink },
    margin: { l: 52, r: 14, t: 10, b: 44 }, dragmode: false, xaxis: x, yaxis: y,
    hoverlabel: { bgcolor: colours.raised, bordercolor: colours.muted, font: { color: colours.ink } },
    hovermode: "closest", ...more,
  };
}
function label(text, [lr, batch], colour, colours, below, span) {
  const right = Math.log(span[1] / batch) < 0.2 * Math.log(span[1] / span[0]);
  return {
    x: Math.log10(batch), y: Math.log10(lr), text, showarrow: false, xshift: right ? -26 : 26, yshift: below ? -17 : 17,
    font: { color: colour, size: 13 }, bgcolor: colours.paper, opacity: 0.88, borderpad: 1,
  };
}
const narrow = (place) => place.clientWidth < 480;
const dot = (x, y, marker, more) => ({
  type: "scatter", mode: "markers", x, y, marker, hoverinfo: "text", cliponaxis: false, ...more,
});

const DRAW = {
  contour(data, place, colours) {
    const size = 81;
    const batch = spread(...data.batch, size);
    const lr = spread(...data.lr, size);
    const cost = lr.map((a) => batch.map((b) => costOf(data, a, b)));
    const traces = [{
      type: "contour", x: batch, y: lr, z: cost.map((row) => row.map(step)), showscale: false,
      zmin: -0.5, zmax: LEVELS.length - 0.5, colorscale: [[0, colours.low], [1, colours.high]],
      hoverinfo: "skip", line: { width: 0 }, autocontour: false,
      contours: { start: 0, end: LEVELS.length - 1, size: 1 },
    }];
    for (const level of LEVELS) {
      traces.push({
        type: "contour", x: batch, y: lr, z: cost, showscale: false, hoverinfo: "skip",
        autocontour: false, line: { color: colours.law, width: level === 0.001 ? 1.8 : 1 },
        colorscale: [[0, colours.law], [1, colours.law]],
        contours: {
          start: level, end: level, size: 1, coloring: "lines", showlabels: true,
          labelformat: "+~%", labelfont: { size: 12, color: colours.ink },
        },
      });
    }
    if (data.runs) {
      const runs = [...data.runs].sort((a, b) => b[2] - a[2]);
      traces.push(dot(runs.map((run) => run[1]), runs.map((run) => run[0]), {
        size: 7, color: runs.map((run) => Math.log10(Math.max(run[2], 0.05))), cmin: -1.5, cmax: 1.2,
        colorscale: [[0, colours.measured], [1, colours.faint]],
        line: { width: 0.5, color: colours.muted },
      }, {
        name: "runs",
        hovertext: runs.map((run) => `lr ${small(run[0])}, batch ${count(run[1])}: +${run[2].toFixed(2)}%`),
      }));
    }
    const [atLr, atBatch] = data.at;
    if (data.plateau) {
      const [lrs, batches] = data.plateau;
      const line = { color: colours.target, width: 3 };
      for (const [x, y] of [[[atBatch, atBatch], lrs], [batches, [atLr, atLr]]]) {
        traces.push({ type: "scatter", mode: "lines", x, y, line, hoverinfo: "skip", name: "plateau" });
      }
    }
    if (data.label === "plan") {
      traces.push(dot([data.best[1]], [data.best[0]], {
        symbol: "x-thin", size: 11, line: { width: 2.5, color: colours.law },
      }, { hovertext: [`lowest: lr ${small(data.best[0])}, batch ${count(data.best[1])}`], name: "lowest" }));
    }
    if (data.measured) {
      const [mLr, mBatch, edge] = data.measured;
      const word = edge ? "bound" : "measured";
      traces.push(dot([mBatch], [mLr], {
        symbol: edge ? "circle-open" : "circle", size: 12, color: colours.target,
        line: { width: 2, color: edge ? colours.target : colours.paper },
      }, { name: "measured", hovertext: [`${word}: lr ${small(mLr)}, batch ${count(mBatch)}`] }));
    }
    const isPlan = data.label === "plan";
    traces.push(dot([atBatch], [atLr], {
      symbol: isPlan ? "circle" : "x-thin", size: 12, color: colours.target,
      line: { width: isPlan ? 2 : 2.5, color: isPlan ? colours.paper : colours.law },
    }, { name: data.label, hovertext: [`${data.label}: lr ${small(atLr)}, batch ${count(atBatch)}`] }));
    const low = data.measured && data.measured[0] >= atLr;
    const labels = [label(data.label, data.at, isPlan ? colours.target : colours.law, colours, isPlan || low, data.batch)];
    if (data.measured) {
      labels.push(label(data.measured[2] ? "bound" : "measured", data.measured, colours.target, colours, !low, data.batch));
    }
    traces.push(dot([atBatch], [atLr], {
      symbol: "diamond-open", size: 16, color: colours.ink, line: { width: 2 },
    }, { name: "sliders", visible: false, hovertext: ["the sliders"] }));
    const most = narrow(place) ? 5 : 9;
    return [traces, layout(
      colours, logAxis(colours, "batch, tokens", data.batch, count, most),
      logAxis(colours, "peak learning rate", data.lr, small, 9), { annotations: labels },
    )];
  },

  line(data, place, colours) {
    const words = show(data.quantity);
    const traces = [];
    const banded = data.low.every((value) => value !== null) && data.high.every((value) => value !== null);
    if (banded) {
      const edge = { type: "scatter", mode: "lines", x: data.x, line: { width: 0 }, hoverinfo: "skip" };
      traces.push({ ...edge, y: data.low, name: "low" });
      traces.push({ ...edge, y: data.high, fill: "tonexty", fillcolor: colours.band, name: "band" });
    }
    const said = (place) => {
      const span = banded ? ` (${words(data.low[place])} to ${words(data.high[place])})` : "";
      return `${count(data.x[place])} ${data.against}: ${words(data.value[place])}${span}`;
    };
    traces.push({
      type: "scatter", mode: "lines", x: data.x, y: data.value, line: { color: colours.law, width: 2 },
      hoverinfo: "text", hovertext: data.x.map((_, place) => said(place)), name: "law",
    });
    for (const [name, symbol] of [["measured", "circle"], ["bounds", "circle-open"]]) {
      const found = data[name];
      traces.push(dot(found.map((one) => one[0]), found.map((one) => one[1]), {
        symbol, size: 8, color: colours.measured, opacity: 0.8,
      }, { hovertext: found.map((one) => `${name}: ${count(one[0])} ${data.against}, ${words(one[1])}`), name }));
    }
    if (data.plan) {
      const [value, low, high] = data.plan;
      const sure = low !== null && high !== null && high > low;
      traces.push(dot([data.target], [value], {
        symbol: "diamond", size: 11, color: colours.target, line: { width: 1.5, color: colours.paper },
      }, {
        name: "plan", hovertext: [`plan: ${words(value)}`],
        ...(sure ? { error_y: {
          type: "data", symmetric: false, array: [high - value], arrayminus: [value - low],
          color: colours.target, thickness: 1.5, width: 5,
        } } : {}),
      }));
    }
    const values = traces.flatMap((trace) => trace.y).concat(data.plan || []).filter((value) => value > 0);
    const xs = data.x.concat(data.measured.map((one) => one[0]), data.bounds.map((one) => one[0]));
    const yRange = [Math.min(...values) / 1.15, Math.max(...values) * 1.15];
    const xRange = [Math.min(...xs), Math.max(...xs)];
    const rule = data.target === null ? [] : [{
      type: "line", x0: data.target, x1: data.target, yref: "paper", y0: 0, y1: 1, layer: "below",
      line: { color: colours.target, width: 1, dash: "dash" },
    }];
    const other = data.against === "params" ? "tokens" : "params";
    const name = data.quantity === "lr" ? "best peak lr" : "best batch, tokens";
    return [traces, layout(
      colours, logAxis(colours, data.against, xRange, count, narrow(place) ? 5 : 8),
      logAxis(colours, `${name} at ${count(data.held)} ${other}`, yRange, words, 7), { shapes: rule },
    )];
  },

  others(data, place, colours) {
    const words = show(data.quantity);
    const names = data.laws.map((one) => plain(one[0]));
    const values = data.laws.map((one) => one[1]);
    const [value, low, high] = data.plan;
    const known = [value, low, high, ...(data.elsewhere || []), ...values].filter((one) => one > 0);
    const range = [Math.min(...known) / 1.3, Math.max(...known) * 1.3];
    const shapes = [];
    for (const span of [data.elsewhere, [low, high]]) {
      if (span && span[0] !== null && span[1] > span[0]) {
        shapes.push({
          type: "rect", x0: span[0], x1: span[1], yref: "paper", y0: 0, y1: 1, layer: "below",
          fillcolor: colours.band, line: { width: 0 },
        });
      }
    }
    shapes.push({
      type: "line", x0: value, x1: value, yref: "paper", y0: 0, y1: 1, layer: "below",
      line: { color: colours.target, width: 2 },
    });
    const traces = [dot(values, names, { size: 9, color: colours.measured }, {
      hovertext: data.laws.map((one) => `${plain(one[0])}: ${words(one[1])}`), name: "laws",
    })];
    const title = data.quantity === "lr" ? "peak learning rate" : "batch, tokens";
    return [traces, layout(
      colours, logAxis(colours, title, range, words, narrow(place) ? 5 : 7),
      axis(colours, "", { type: "category", showline: false, ticks: "", range: [-0.7, names.length - 0.3] }),
      {
        shapes,
        annotations: [{
          x: Math.log10(value), y: 1, yref: "paper", yanchor: "bottom", text: `plan ${words(value)}`,
          showarrow: false, font: { color: colours.target },
        }],
        margin: { l: 52, r: 14, t: 28, b: 44 }, height: Math.max(320, 90 + 27 * names.length),
      },
    )];
  },

  schedule(data, place, colours) {
    const traces = [{
      type: "scatter", mode: "lines", x: data.step, y: data.lr, line: { color: colours.law, width: 2 },
      fill: "tozeroy", fillcolor: colours.band, hoverinfo: "text", name: "lr",
      hovertext: data.step.map((step, at) => `step ${step.toLocaleString("en")}: lr ${small(data.lr[at])}`),
    }];
    return [traces, layout(
      colours, axis(colours, "step", { tickformat: "~s", rangemode: "tozero", nticks: 7 }),
      axis(colours, "learning rate", { rangemode: "tozero", ...evenTicks(Math.max(...data.lr)) }),
    )];
  },

  curve(data, place, colours) {
    const traces = [];
    if (data.low) {
      const edge = { type: "scatter", mode: "lines", x: data.step, line: { width: 0 }, hoverinfo: "skip" };
      traces.push({ ...edge, y: data.low, name: "low" });
      traces.push({ ...edge, y: data.high, fill: "tonexty", fillcolor: colours.band, name: "band" });
    }
    traces.push({
      type: "scatter", mode: "lines", x: data.step, y: data.loss, line: { color: colours.law, width: 2 },
      hoverinfo: "text", name: "loss",
      hovertext: data.step.map((step, at) => `step ${step.toLocaleString("en")}: loss ${data.loss[at].toFixed(3)}`),
    });
    // The first steps fall far; the rest is what a reader compares.
    const rest = data.step.findIndex((step) => step > 0.05 * data.step[data.step.length - 1]);
    const top = (data.high || data.loss)[Math.max(rest, 0)];
    const bottom = Math.min(...(data.low || data.loss));
    return [traces, layout(
      colours, axis(colours, "step", { tickformat: "~s", nticks: 7 }),
      axis(colours, "loss, nats per token", { range: [bottom - 0.05 * (top - bottom), top], nticks: 6 }),
    )];
  },
};

const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
const drawn = [];

function draw(place, make) {
  const render = () => {
    const [traces, shape] = make(place, theme());
    return Plotly.react(place, traces, shape, CONFIG);
  };
  drawn.push(render);
  return render();
}

async function inflatePlotly() {
  const packed = Uint8Array.from(atob(byId("plotly").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

// Sliders: one hundred notches either way of the recommended point.
function notched(surface, span, input, place) {
  const side = Number(input.value) < 0 ? surface.at[place] / span[0] : span[1] / surface.at[place];
  return surface.at[place] * side ** (Number(input.value) / 100);
}

function profile(name, colours, place, surface, at, span, here) {
  const xs = spread(...span, 121);
  const paid = (x) => 100 * (name === "lr" ? costOf(surface, x, at[1]) : costOf(surface, at[0], x));
  const words = show(name);
  const top = Math.max(2, 1.6 * paid(here));
  const ys = xs.map(paid);
  const planned = surface.at[name === "lr" ? 0 : 1];
  return [[
    {
      type: "scatter", mode: "lines", x: xs, y: ys, line: { color: colours.law, width: 2 }, hoverinfo: "text",
      hovertext: xs.map((x, number) => `${words(x)}: +${ys[number].toFixed(2)}%`), name: "cost",
    },
    dot([here], [paid(here)], {
      symbol: "diamond-open", size: 15, color: colours.ink, line: { width: 2 },
    }, { hovertext: ["the slider"], name: "slider" }),
  ], layout(
    colours, logAxis(colours, name === "lr" ? "peak learning rate" : "batch, tokens", span, words, narrow(place) ? 5 : 7),
    axis(colours, "over the lowest loss", { range: [-0.04 * top, top], ticksuffix: "%", nticks: 6 }),
    { shapes: [{
      type: "line", x0: planned, x1: planned, yref: "paper", y0: 0, y1: 1, layer: "below",
      line: { color: colours.target, width: 1, dash: "dash" },
    }] },
  )];
}

function startSliders(widget, surface) {
  const [lrInput, batchInput] = [byId("slide-lr"), byId("slide-batch")];
  const at = () => [notched(surface, surface.lr, lrInput, 0), notched(surface, surface.batch, batchInput, 1)];
  const planned = penalty(surface, ...surface.at);
  const plots = { lr: byId("profile-lr"), batch: byId("profile-batch") };
  const make = (name, number) => (place, colours) => {
    const here = at();
    return profile(name, colours, place, surface, here, surface[name], here[number]);
  };
  function say() {
    const [lr, batch] = at();
    const over = Math.expm1(penalty(surface, lr, batch) - planned);
    const times = (value, start) => (Math.abs(value / start - 1) < 1e-9 ? `as in the ${widget.start}` : `${digits(value / start, 2)} times`);
    byId("said-lr").textContent = `${small(lr)}, ${times(lr, surface.at[0])}`;
    byId("said-batch").textContent = `${count(batch)}, ${times(batch, surface.at[1])}`;
    lrInput.setAttribute("aria-valuetext", byId("said-lr").textContent);
    batchInput.setAttribute("aria-valuetext", `${byId("said-batch").textContent} tokens`);
    const lead = document.createElement("strong");
    lead.textContent = `${percent(over)} of the loss`;
    const rest = [`against the ${widget.start}; ${percent(costOf(surface, lr, batch))} over the surface’s lowest`];
    if (widget.loss !== null) rest.push(`predicted loss ${(widget.loss * (1 + over)).toFixed(3)}`);
    byId("said-cost").replaceChildren(lead, `${rest.join("; ")}.`);
    byId("words-profile-lr").textContent = `At a batch of ${count(batch)} the surface is lowest at lr ${small(lowest(surface, "lr", batch))}.`;
    byId("words-profile-batch").textContent = `At lr ${small(lr)} it is lowest at a batch of ${count(lowest(surface, "batch", lr))}.`;
    return [lr, batch];
  }
  function redraw([lr, batch]) {
    for (const [number, name] of ["lr", "batch"].entries()) {
      Plotly.react(plots[name], ...make(name, number)(plots[name], theme()), CONFIG);
    }
    const contours = byId("plot-contours");
    const marker = contours.data.findIndex((trace) => trace.name === "sliders");
    const moved = lrInput.value !== "0" || batchInput.value !== "0";
    Plotly.restyle(contours, { x: [[batch]], y: [[lr]], visible: moved }, [marker]);
  }
  let waiting = false;
  function changed() {
    const here = say();
    if (waiting || !window.Plotly) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; redraw(at()); });
    return here;
  }
  for (const input of [lrInput, batchInput]) input.addEventListener("input", changed);
  byId("slide-reset").addEventListener("click", () => {
    lrInput.value = "0";
    batchInput.value = "0";
    changed();
  });
  say();
  return () => {
    draw(plots.lr, make("lr", 0));
    draw(plots.batch, make("batch", 1));
    drawn.push(() => redraw(at()));
  };
}

function lowest(surface, name, held) {
  const xs = spread(...surface[name], 2001);
  const paid = xs.map((x) => (name === "lr" ? penalty(surface, x, held) : penalty(surface, held, x)));
  return xs[paid.indexOf(Math.min(...paid))];
}

// The table of runs.
const WRITE = {
  word: (value) => value, count, small, loss: (value) => value.toFixed(4),
  percent: (value) => `${value.toFixed(2)}%`, number: (value) => String(value),
};
const UNITS = { K: 1e3, M: 1e6, B: 1e9, T: 1e12 };

function matcher(text, columns) {
  const terms = text.trim().split(/\s+/).filter(Boolean).map((term) => {
    const found = /^([A-Za-z_]+)(<=|>=|<|>|=)(.+)$/.exec(term);
    const column = found && columns.find((one) => one.name === found[1]);
    if (!column) return (row) => row.text.includes(term.toLowerCase());
    const [, , sign, word] = found;
    const scaled = /^([0-9.eE+-]+)([KMBT]?)%?$/i.exec(word);
    const wanted = scaled ? Number(scaled[1]) * (UNITS[scaled[2].toUpperCase()] || 1) : NaN;
    return (row) => {
      const value = column.values[row.at];
      if (value === null) return false;
      if (typeof value === "string" || Number.isNaN(wanted)) return sign === "=" && String(value) === word;
      const shown = WRITE[column.kind](value) === WRITE[column.kind](wanted);
      if (sign === "=") return shown || value === wanted;
      if (sign[1] === "=" && shown) return true;
      return sign[0] === "<" ? value < wanted : value > wanted;
    };
  });
  return (row) => terms.every((holds) => holds(row));
}

function startRuns(data) {
  const size = 25;
  const { columns } = data;
  const cell = (column, at) => (column.values[at] === null ? "" : WRITE[column.kind](column.values[at]));
  const rows = columns[0].values.map((_, at) => ({
    at, text: columns.map((column) => cell(column, at)).join(" ").toLowerCase(),
  }));
  let shown = rows;
  let first = 0;
  let order = { column: null, way: 1 };
  const heads = columns.map((column) => {
    const head = document.createElement("th");
    head.scope = "col";
    head.setAttribute("aria-sort", "none");
    if (column.kind !== "word") head.className = "number";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.name.replace(/_/g, " ");
    button.addEventListener("click", () => sortBy(column));
    head.append(button);
    return head;
  });
  byId("runs-head").replaceChildren(...heads);
  function compare(a, b) {
    const [x, y] = [order.column.values[a.at], order.column.values[b.at]];
    if (x === null || y === null) return (x === null) - (y === null);
    return order.way * (typeof x === "string" ? x.localeCompare(String(y), "en", { numeric: true }) : x - y);
  }
  function sortBy(column) {
    order = { column, way: order.column === column ? -order.way : 1 };
    heads.forEach((head, place) => {
      const way = order.way > 0 ? "ascending" : "descending";
      head.setAttribute("aria-sort", columns[place] === column ? way : "none");
    });
    refresh();
  }
  function refresh() {
    shown = rows.filter(matcher(byId("runs-filter").value, columns));
    if (order.column) shown.sort(compare);
    first = 0;
    write();
  }
  function write() {
    const lines = shown.slice(first, first + size).map((row) => {
      const line = document.createElement("tr");
      line.append(...columns.map((column, place) => {
        const box = document.createElement(place === 0 ? "th" : "td");
        if (place === 0) box.scope = "row";
        if (column.kind !== "word") box.className = "number";
        box.textContent = cell(column, row.at);
        return box;
      }));
      return line;
    });
    byId("runs-body").replaceChildren(...lines);
    const last = Math.min(first + size, shown.length);
    const all = shown.length === rows.length ? "" : `, of ${rows.length.toLocaleString("en")} in all`;
    byId("runs-status").textContent = shown.length
      ? `${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${shown.length.toLocaleString("en")} runs${all}`
      : "No run matches the filter";
    byId("runs-back").disabled = first === 0;
    byId("runs-on").disabled = last === shown.length;
  }
  byId("runs-filter").addEventListener("input", refresh);
  byId("runs-back").addEventListener("click", () => { first -= size; write(); });
  byId("runs-on").addEventListener("click", () => { first += size; write(); });
  byId("runs-csv").addEventListener("click", () => {
    const table = [columns.map((column) => column.name), ...shown.map((row) => columns.map((column) => column.values[row.at]))];
    save("runs.csv", csv(table), "text/csv");
  });
  write();
}

// Files saved from the page.
function csv(rows) {
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return `${rows.map((row) => row.map(quoted).join(",")).join("\n")}\n`;
}
function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function figureRows(name) {
  const rows = [["series", "x", "y"]];
  for (const trace of byId(`plot-${name}`).data || []) {
    if (trace.type !== "scatter" || trace.visible === false) continue;
    trace.x.forEach((x, place) => rows.push([trace.name, x, trace.y[place]]));
  }
  return rows;
}
for (const button of document.querySelectorAll("[data-csv]")) {
  const name = button.dataset.csv;
  button.addEventListener("click", () => save(`${name}.csv`, csv(figureRows(name)), "text/csv"));
}
for (const button of document.querySelectorAll("[data-save]")) {
  const name = button.dataset.save;
  button.addEventListener("click", () => save(name, DATA.archive[name], "text/plain"));
}

async function start() {
  const { sliders, runs } = DATA.widgets;
  if (runs) startRuns(runs);
  const drawProfiles = sliders ? startSliders(sliders, DATA.figures.contours) : () => {};
  const places = [...document.querySelectorAll("[data-figure]")];
  if (!window.DecompressionStream) {
    for (const place of document.querySelectorAll(".plot")) {
      place.innerHTML = '<p class="failed">Figures need a browser of 2023 or later.</p>';
    }
    return;
  }
  await inflatePlotly();
  for (const place of places) {
    const data = DATA.figures[place.dataset.figure];
    await draw(place, (where, colours) => DRAW[data.kind](data, where, colours));
  }
  drawProfiles();
  const redraw = () => drawn.forEach((render) => render());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // Fewer ticks fit a narrower page.
  let pause = null;
  window.addEventListener("resize", () => {
    clearTimeout(pause);
    pause = setTimeout(redraw, 200);
  });
  document.body.dataset.ready = "yes";
}
start();
