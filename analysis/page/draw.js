// Fills the table of lives, and Bokeh's drawing with the life that was chosen.
"use strict";

(async () => {
  const element = id => document.getElementById(id);
  const facts = JSON.parse(element("facts").textContent);
  const items = JSON.parse(element("items").textContent);

  // -- what the page holds packed -----------------------------------------------------------

  async function unpacked(id) {
    const packed = await (await fetch(`data:;base64,${element(id).textContent}`)).blob();
    return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip")));
  }

  const arrays = {i1: Int8Array, i2: Int16Array, i4: Int32Array, f8: Float64Array};
  const bytes = await (await unpacked("columns")).arrayBuffer();
  const columns = new Map();

  // A column as plain numbers, NaN where there is none.
  function column(name) {
    if (!columns.has(name)) {
      const [kind, first, length, steps] = facts.columns[name];
      const size = arrays[kind].BYTES_PER_ELEMENT;
      const kept = new arrays[kind](bytes.slice(first, first + length * size));
      let sum = 0;
      columns.set(name, Float64Array.from(
        kept, steps ? step => sum += step : value => value === facts.nothing ? NaN : value));
    }
    return columns.get(name);
  }

  for (const id of facts.library) {
    const script = document.createElement("script");
    script.textContent = await (await unpacked(id)).text();
    document.head.append(script);
  }

  // The columns of a drawn life's rows in one of the tables that have some for each life.
  const rowsOf = new Map();
  function rows(table, place) {
    if (!rowsOf.has(table)) {
      let sum = 0;
      rowsOf.set(table, [0, ...Array.from(column(`drawn.${table}`), number => sum += number)]);
    }
    const [from, to] = rowsOf.get(table).slice(place, place + 2);
    const named = Object.keys(facts.columns).filter(name => name.startsWith(`${table}.`));
    return Object.fromEntries(
      named.map(name => [name.slice(table.length + 1), column(name).slice(from, to)]));
  }

  const ms = ns => ns / 1e6;
  const word = (words, codes) => Array.from(codes, code => words[code] ?? "");

  // -- the table of lives -------------------------------------------------------------------

  const lives = Object.fromEntries(
    ["life", "head_pfn", "order", "changes", "events", "tasks", "reads", "raced_reads", "findings"]
      .map(name => [name, column(`lives.${name}`)]));
  lives.parent = column("lives.parent").map(parent => parent < 0 ? NaN : parent);
  lives.born = column("lives.birth_ts").map(ms);
  lives.lived = column("lives.lived").map(ms);
  for (const name of ["kind", "birth", "death"])
    lives[name] = word(facts.words[name], column(`lives.${name}`));
  const rowOf = new Map(Array.from(lives.life, (life, row) => [life, row]));
  const drawnAt = new Map(Array.from(column("drawn.life"), (life, place) => [life, place]));

  await Bokeh.embed.embed_item(items["life-table"]);
  await Bokeh.embed.embed_item(items.drawing);
  const model = name =>
    Bokeh.documents.map(one => one.get_model_by_name(name)).find(one => one !== null);
  const table = model("table");
  model("lives").data = lives;

  const form = element("life-filters");
  for (const name of ["kind", "birth", "death"])
    for (const value of facts.words[name]) form.elements[name].add(new Option(value));

  function filter() {
    const wanted = Object.fromEntries(
      [...form.elements].map(one => [one.name, one.type === "checkbox" ? one.checked : one.value]));
    const pfn = wanted.pfn.trim() === "" ? null : Number(wanted.pfn);
    const kept = [];
    for (let row = 0; row < lives.life.length; row++) {
      const size = 2 ** lives.order[row];
      if (lives.order[row] < wanted.order) continue;
      if (pfn !== null && !(lives.head_pfn[row] <= pfn && pfn < lives.head_pfn[row] + size))
        continue;
      if (["kind", "birth", "death"].some(one => wanted[one] && lives[one][row] !== wanted[one]))
        continue;
      if (wanted.findings && !lives.findings[row]) continue;
      if (wanted.raced && !lives.raced_reads[row]) continue;
      if (wanted.drawn && !drawnAt.has(lives.life[row])) continue;
      kept.push(row);
    }
    table.view.filter.indices = kept;
    form.querySelector("output").value = `${kept.length} of ${lives.life.length} shown`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  filter();
  table.source.selected.properties.indices.change.connect(() => {
    const [row] = table.source.selected.indices;
    if (row !== undefined) location.hash = `life-${lives.life[row]}`;
  });

  // -- the drawing ---------------------------------------------------------------------------

  const scheme = matchMedia("(prefers-color-scheme: dark)");
  let colours = facts.colours.light;
  let shown = null;
  let lanes = [];

  // Who acts has a lane of its own, in the order of appearance.
  function laneOf(who) {
    if (!lanes.includes(who)) lanes.push(who);
    return lanes.indexOf(who);
  }

  function marks(begin, end, death) {
    const inside = facts.marks.filter(([ns]) => begin <= ns && ns <= end);
    if (facts.ends[death]) inside.push([end, facts.ends[death], colours.end]);
    if (facts.oops && begin <= facts.oops[0]) inside.push([...facts.oops, colours.wrong]);
    const data = {ms: [], row: [], name: [], colour: [], dash: [], align: [], offset: []};
    inside.forEach(([ns, name, colour], number) => {
      data.ms.push(ms(ns));
      data.row.push(3.5 - number % 4);
      data.name.push(name);
      data.colour.push(colour ?? colours.mark);
      data.dash.push(colour ? "solid" : "dashed");
      const right = ns > begin + 0.85 * (end - begin);
      data.align.push(right ? "right" : "left");
      data.offset.push(right ? -4 : 4);
    });
    return data;
  }

  // What holds over some time: losses, readers that raced, DoubleMap at the top, PMD mappings.
  function spans(records, readers, begin, end) {
    const data = {left: [], right: [], bottom: [], top: [], colour: [], alpha: []};
    const add = (left, right, bottom, top, colour, alpha) =>
      [left, right, bottom, top, colour, alpha].forEach((one, at) => Object.values(data)[at].push(one));
    for (const [from, to] of facts.losses)
      if (from <= end && to >= begin) add(ms(from), ms(to), 0, 1, colours.loss, 0.35);
    readers.ms.forEach((from, at) => {
      if (readers.raced[at]) add(from, readers.end[at], 0, 1, colours.wrong, 0.13);
    });
    const states = [["double_map", 0.93, colours.double_map, 0.5], ["entire", 0, colours.pmd, 0.1]];
    for (const [name, bottom, colour, alpha] of states) {
      let since = null;
      records[name].forEach((value, at) => {
        if (value > 0) since ??= records.ts[at];
        else if (since !== null) {
          add(ms(since), ms(records.ts[at]), bottom, 1, colour, alpha);
          since = null;
        }
      });
      if (since !== null) add(ms(since), ms(end), bottom, 1, colour, alpha);
    }
    return data;
  }

  function events(records) {
    const look = word(facts.ops, records.op).map(op => facts.looks[op] ?? facts.looks.other);
    const task = Array.from(records.tid, tid => facts.tasks[tid]);
    return {
      ms: records.ts.map(ms), label: records.label, cpu: records.cpu, task,
      function: word(facts.functions, records.function), phase: word(facts.phases, records.phase),
      op: word(facts.ops, records.op), level: word(facts.levels, records.level),
      page: records.page, nr: records.nr, entire: records.entire, pte: records.pte,
      entire_mapcount: records.entire_mapcount, wrong: records.wrong.map(one => one ? 0.04 : NaN),
      lane: look.map((one, at) => laneOf(task[at]) + one.offset), marker: look.map(one => one.marker),
      size: look.map((one, at) => one.size + 5 * (records.level[at] > 0 && records.delta[at] !== 0)),
      angle: look.map(one => one.angle), colour: look.map(one => one[colours.name]),
    };
  }

  function windows(found) {
    const fate = ["stayed as it was", "was freed or split meanwhile"];
    const who = Array.from(found.tid, tid => facts.tasks[tid]);
    const functions = word(facts.functions, found.function);
    return {
      ms: found.ts.map(ms), end: found.ts.map((ts, at) => ms(ts + found.end[at])), task: who,
      lane: who.map((task, at) => laneOf(`${task} ${functions[at]}`)), function: functions,
      colour: Array.from(found.raced, one => one ? colours.wrong : colours.reader),
      fate: word(fate, found.raced), raced: found.raced,
    };
  }

  function quads(found) {
    const colour = value =>
      value < 0 ? colours.unknown : colours.pages[Math.min(value, colours.pages.length) - 1];
    return {
      left: found.from.map(ms), right: found.to.map(ms), low: found.low, high: found.high,
      last: found.high.map(page => page - 1), colour: Array.from(found.value, colour),
      value: Array.from(found.value, value => value < 0 ? "not known" : value),
    };
  }

  function found(life) {
    const data = Object.fromEntries(facts.found.map(name => [name, []]));
    const mine = facts.findings.filter(one => one.life === life && one.observed !== null);
    for (const one of mine) {
      const scale = facts.scales[one.counter] ?? "foot";
      const told = {...one, ms: ms(one.ns)};
      for (const what of ["observed", "expected"])
        for (const each of ["pmd", "pte", "foot"])
          told[`${each}_${what}`] = each !== scale ? NaN : scale === "foot" ? 0.08 : one[what];
      for (const name of facts.found) data[name].push(told[name]);
    }
    return data;
  }

  // Which sign is what; Bokeh's legend cannot follow sources that shrink.
  function legend(ops, differ) {
    const signs = [["━", colours.pmd, "PMD mappings"], ["╌", colours.pte, "PTE mappings"],
      ["▬", colours.double_map, "DoubleMap"], ["●", colours.ink, "observed by a probe"]];
    for (const op of ops) if (facts.looks[op]) signs.push(
      [facts.looks[op].sign, facts.looks[op][colours.name], op]);
    if (differ) signs.push(["✕", colours.wrong, "not as replayed"], ["○", colours.wrong, "expected"]);
    element("life-legend").replaceChildren(...signs.map(([sign, colour, words]) => {
      const item = document.createElement("span"), picture = document.createElement("b");
      picture.style.color = colour;
      picture.textContent = sign;
      item.append(picture, ` ${words}`);
      return item;
    }));
  }

  // The range of an axis: what is drawn on it, and zero.
  function heights(name, ...values) {
    let low = 0, high = 1;
    for (const value of values.flatMap(each => [...each])) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const room = (high - low) * 0.1;
    model(name).setv({start: low - room, end: high + 2 * room});
  }

  function draw(life) {
    const row = rowOf.get(life), place = drawnAt.get(life);
    const title = element("life-title"), about = element("life-about");
    element("life-view").hidden = false;
    title.textContent = `Life ${life}`;
    for (const id of ["drawing", "life-legend", "life-keys"])
      element(id).hidden = place === undefined;
    if (place === undefined) {
      about.textContent = `This page has no records of it. \`mapcount timeline --life ${life}\` ` +
        "draws it, or make the page with a larger --records.";
      return;
    }
    const pages = 2 ** lives.order[row];
    const born = BigInt(facts.first_ns) + BigInt(column("lives.birth_ts")[row]);
    const pfn = `0x${lives.head_pfn[row].toString(16)}`;
    const end = lives.death[row] === "alive" ? "still alive" : `end: ${lives.death[row]}`;
    title.textContent = `Life ${life}: ${lives.kind[row]} folio of ${pages} pages at pfn ${pfn}`;
    about.textContent = `${born}-${pfn}; birth: ${lives.birth[row]}, ${end}; ` +
      `${lives.events[row]} records, ${lives.changes[row]} changes of map counts`;
    shown = life;
    lanes = [];
    const records = rows("records", place), done = events(records);
    const seen = windows(rows("windows", place));
    const first = records.ts[0];
    const last = isNaN(lives.lived[row]) ? facts.last_ns : first + lives.lived[row] * 1e6;
    model("lanes").setv({start: lanes.length - 0.4, end: -0.6});
    model("lane-names").ticker.ticks = lanes.map((_, lane) => lane);
    model("lane-names").major_label_overrides = new Map(lanes.entries());
    model("tasks").height = 80 + 30 * lanes.length;
    model("pages").end = pages;
    const wrong = found(life);
    heights("pmd", records.entire, wrong.pmd_observed, wrong.pmd_expected);
    heights("pte", records.pte, wrong.pte_observed, wrong.pte_expected);
    const steps = {ms: [...done.ms, ms(last)]};
    for (const name of ["entire", "pte"])
      steps[name] = [...records[name], records[name].at(-1)];
    const sources = {
      steps, events: done, windows: seen, quads: quads(rows("quads", place)), found: wrong,
      spans: spans(records, seen, first, last),
      marks: marks(first, last, lives.death[row]),
    };
    for (const [name, data] of Object.entries(sources)) model(name).data = data;
    legend(new Set(done.op), records.wrong.includes(1) || wrong.ms.length);
    model("strip").visible = sources.marks.ms.length > 0;
    const room = Math.max(ms(last - first), 0.001) * 0.03;
    look(ms(first) - room, Math.max(ms(last), ...seen.end) + room);
    model("time").reset_start = model("time").start;
    model("time").reset_end = model("time").end;
  }

  const look = (start, end) => model("time").setv({start, end});

  function keys(event) {
    const {start, end, reset_start: first, reset_end: last} = model("time");
    const wide = end - start, middle = (start + end) / 2;
    const moves = {
      ArrowLeft: () => look(start - wide / 5, end - wide / 5),
      ArrowRight: () => look(start + wide / 5, end + wide / 5),
      "+": () => look(middle - wide / 4, middle + wide / 4),
      "-": () => look(middle - wide, middle + wide),
      0: () => look(first, last),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  }

  // Canvases know nothing of style sheets.
  function paint(dark) {
    colours = facts.colours[dark ? "dark" : "light"];
    const {ink, grid} = colours;
    for (const one of Bokeh.documents.flatMap(each => [...each._all_models.values()])) {
      const tag = one.tags?.[0];
      if (one.type.endsWith("Axis")) {
        const own = colours[tag] ?? ink;
        one.setv({axis_label_text_color: own, major_label_text_color: own, axis_line_color: grid,
          major_tick_line_color: grid, minor_tick_line_color: null});
      } else if (one.type === "Grid") one.grid_line_color = grid;
      else if (one.type === "Step" || one.type === "Scatter")
        one.setv(tag === "observed" ? {fill_color: ink} : tag ? {line_color: colours[tag]} : {});
    }
    if (shown !== null) draw(shown);
  }

  function follow() {
    const wanted = location.hash.match(/^#life-(\d+)$/);
    if (!wanted || !rowOf.has(Number(wanted[1]))) return;
    draw(Number(wanted[1]));
    element("life-view").scrollIntoView({block: "nearest"});
  }

  form.hidden = false;
  element("static-lives").hidden = true;
  for (const one of document.querySelectorAll("#lives > details")) one.open = false;
  element("drawing").addEventListener("keydown", keys);
  scheme.addEventListener("change", () => paint(scheme.matches));
  addEventListener("hashchange", follow);
  paint(scheme.matches);
  if (facts.first_life !== null) draw(facts.first_life);
  follow();
  document.documentElement.dataset.ready = "yes";
})();
