'use strict';
const R = JSON.parse(document.getElementById('data').textContent);
const PAGE = 4096;

// --- elements ---
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null) node.append(child);
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
const colour = name => `var(--${name})`;

// --- numbers ---
function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; value >= 999.5 && unit < 4; ++unit) value /= 1024;
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(value < 9.995 ? 2 : 1)} ${units[unit]}`;
}
function count(value) {
  if (value < 999.5) return value.toFixed(0);
  if (value < 999500) return `${(value / 1e3).toFixed(1)}k`;
  return `${(value / 1e6).toFixed(2)}M`;
}
const exact = value => value.toLocaleString('en-US');
const seconds = ms => ms < 9995 ? `${(ms / 1000).toFixed(2)} s` : ms < 600000 ? `${(ms / 1000).toFixed(1)} s`
  : `${Math.floor(ms / 60000)} min ${Math.round(ms % 60000 / 1000)} s`;
function date(s1970) {
  const two = value => String(value).padStart(2, '0');
  const d = new Date(s1970 * 1000);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}`;
}
function percent(part, whole) {
  const value = whole > 0 ? 100 * part / whole : 0;
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)} %`;
}
// At most about `most` round steps from 0 to `top`: of bytes, powers of two.
function ticks(top, most, base) {
  let step = 1;
  if (base === 1024) {
    while (step * most < top) step *= 2;
  } else {
    const power = 10 ** Math.floor(Math.log10(Math.max(top, 1e-9) / most));
    step = power * ([1, 2, 2.5, 5, 10].find(c => c * power * most >= top) || 10);
  }
  const all = [];
  for (let i = 0; i * step <= top * 1.0001; ++i) all.push(i * step);
  return all;
}

// --- samples: as many bins as a chart has room for ---
const S = R.samples, T = S.time_ms;
S.wanted_bytes = S.resident_bytes.map((value, i) => value + S.evicted_bytes[i]);
const END = Math.max(R.elapsed_ns / 1e6, 1);
// Rates: the mean. Amounts: as they were when the most memory was in use, all at the same time.
function binned(key, bins, isRate) {
  const sum = new Array(bins).fill(0), weight = new Array(bins).fill(0), chosen = new Array(bins).fill(-1);
  const used = i => S.resident_bytes[i] + S.compressed_bytes[i];
  for (let i = 0; i < T.length; ++i) {
    const bin = Math.min(bins - 1, Math.floor(T[i] / END * bins));
    const w = Math.max(T[i] - (i > 0 ? T[i - 1] : 0), 0.001);
    sum[bin] += S[key][i] * w;
    weight[bin] += w;
    if (chosen[bin] < 0 || used(i) > used(chosen[bin])) chosen[bin] = i;
  }
  const points = [];
  for (let bin = 0; bin < bins; ++bin) {
    if (chosen[bin] < 0) continue;
    points.push([(bin + 0.5) / bins * END, isRate ? sum[bin] / weight[bin] : S[key][chosen[bin]]]);
  }
  if (points.length > 0) {  // to both edges
    points.unshift([0, isRate ? points[0][1] : S[key][0]]);
    points.push([END, points[points.length - 1][1]]);
  }
  return points;
}
function at(points, time) {
  let best = points[0];
  for (const point of points) if (Math.abs(point[0] - time) < Math.abs(best[0] - time)) best = point;
  return best ? best[1] : 0;
}

// --- charts ---
const charts = [];
const LEFT = 62, RIGHT = 10, TOP = 6, BOTTOM = 34;
// series: {key, name, colour, rate, area, stack}; line: a value that is marked, with its name.
function chart(options) {
  const keys = options.series.map(one => h('span', {class: 'key'}, h('i', {style: `background:${colour(one.colour)}`}),
    `${one.name} `, h('b', {})));
  if (options.line) keys.push(h('span', {class: 'key'}, h('i', {class: 'dash'}), `${options.line.name} `,
    h('b', {}, options.text(options.line.value))));
  const box = h('div', {});
  const card = h('section', {class: `card ${options.wide ? 'wide' : ''}`},
    h('div', {class: 'head'}, h('h2', {}, options.title), keys), box);
  const self = {card, draw, mark};
  let cross = null, width = 0, lines = [];
  function draw() {
    width = Math.max(box.clientWidth, 240);
    const height = options.wide ? 270 : 190;
    const bins = Math.max(20, Math.min(240, Math.floor((width - LEFT - RIGHT) / 4)));
    lines = options.series.map(one => binned(one.key, bins, one.rate));
    const drawn = [];
    let below = null;
    options.series.forEach((one, i) => {
      const stacked = one.stack && below
        ? lines[i].map((point, k) => [point[0], point[1] + below[k][1]]) : lines[i];
      drawn.push({one, points: stacked, base: one.stack ? below : null});
      if (one.stack) below = stacked;
    });
    let top = options.top || Math.max(options.least || 1, options.line ? options.line.value : 0,
      ...drawn.flatMap(d => d.points.map(point => point[1])));
    if (!options.top) top *= 1.06;
    const x = t => LEFT + t / END * (width - LEFT - RIGHT);
    const y = v => TOP + (1 - Math.min(v, top) / top) * (height - TOP - BOTTOM);
    const svg = s('svg', {viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': options.title});
    for (const value of ticks(top, options.wide ? 6 : 4, options.base)) {
      svg.append(s('line', {class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value)}),
        s('text', {x: LEFT - 7, y: y(value) + 4, 'text-anchor': 'end'}, options.text(value)));
    }
    for (const value of ticks(END / 1000, Math.max(3, Math.floor(width / 110)), 10)) {
      svg.append(s('text', {x: x(value * 1000), y: height - BOTTOM + 17, 'text-anchor': 'middle'}, `${+value.toFixed(3)}`));
    }
    svg.append(s('text', {x: (LEFT + width - RIGHT) / 2, y: height - 2, 'text-anchor': 'middle'}, 'time [s]'));
    for (const {one, points, base} of drawn) {
      if (points.length === 0) continue;
      const path = points.map(point => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join('L');
      if (one.area) {
        const back = base ? base.slice().reverse().map(point => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join('L')
          : `${x(END).toFixed(1)},${y(0)}L${x(0).toFixed(1)},${y(0)}`;
        svg.append(s('path', {d: `M${path}L${back}Z`, fill: colour(one.colour), opacity: one.area}));
      }
      svg.append(s('path', {d: `M${path}`, fill: 'none', stroke: colour(one.colour), 'stroke-width': 1.6, 'stroke-linejoin': 'round'}));
    }
    if (options.line) svg.append(s('line', {x1: LEFT, x2: width - RIGHT, y1: y(options.line.value), y2: y(options.line.value),
      stroke: colour('budget'), 'stroke-width': 1.4, 'stroke-dasharray': '6 4'}));
    cross = s('line', {class: 'cross', y1: TOP, y2: height - BOTTOM, visibility: 'hidden'});
    svg.append(cross);
    svg.addEventListener('mousemove', event => {
      const place = (event.clientX - svg.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
      charts.forEach(each => each.mark(place >= 0 && place <= 1 ? place * END : null));
    });
    svg.addEventListener('mouseleave', () => charts.forEach(each => each.mark(null)));
    box.replaceChildren(svg);
    mark(null);
  }
  function mark(time) {
    cross.setAttribute('visibility', time === null ? 'hidden' : 'visible');
    if (time !== null) {
      const place = LEFT + time / END * (width - LEFT - RIGHT);
      cross.setAttribute('x1', place);
      cross.setAttribute('x2', place);
    }
    lines.forEach((points, i) => {
      const shown = time === null ? Math.max(0, ...points.map(point => point[1])) : at(points, time);
      keys[i].querySelector('b').textContent = `${time === null ? 'max ' : ''}${options.text(shown)}`;
    });
  }
  charts.push(self);
  return card;
}

// --- the map ---
const STATES = [['resident', 'in memory'], ['swapped', 'swapped'], ['filled', 'one word throughout'], ['empty', 'never touched']];
const tip = h('div', {id: 'tip'});
function show(event, text) {
  tip.textContent = text;
  tip.style.display = 'block';
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 340)}px`;
  tip.style.top = `${event.clientY + 16}px`;
}
function decode(text) {
  const cells = [];
  for (let i = 0; i < text.length;) {
    if (text[i] === '*') {
      const end = text.indexOf(';', i);
      cells.push({gap: +text.slice(i + 1, end)});
      i = end + 1;
    } else {
      cells.push({parts: [0, 1, 2].map(k => parseInt(text[i + k], 36) / 35)});
      i += 3;
    }
  }
  return cells;
}
const GAP_CELLS = 7;  // that a gap is drawn as wide as
function drawCells(region, cellBytes, width) {
  const pitch = 11, size = 9.5;
  const perRow = Math.max(8, Math.floor(width / pitch));
  const svg = s('svg', {});
  let place = 0, address = region.start;
  for (const cell of decode(region.cells)) {
    const wide = cell.gap ? GAP_CELLS : 1;
    if (place % perRow + wide > perRow) place += perRow - place % perRow;
    const x = place % perRow * pitch, y = Math.floor(place / perRow) * pitch;
    const from = address;
    const group = s('g', {});
    if (cell.gap) {
      group.append(s('rect', {x, y: y + size / 2 - 0.75, width: wide * pitch - 1.5, height: 1.5, fill: colour('line')}),
        s('rect', {x: x + 6, y, width: wide * pitch - 13.5, height: size, fill: colour('card')}),
        s('text', {x: x + (wide * pitch - 1.5) / 2, y: y + size - 1, 'text-anchor': 'middle', 'font-size': 9}, bytes(cell.gap * cellBytes)));
      address += cell.gap * cellBytes;
      group.addEventListener('mousemove', event => show(event, `${bytes(cell.gap * cellBytes)} never touched, from 0x${from.toString(16)}`));
    } else {
      group.append(s('rect', {x, y, width: size, height: size, rx: 1.5, fill: colour('empty')}));
      let foot = y + size;
      cell.parts.forEach((part, k) => {
        if (part <= 0) return;
        const tall = Math.min(part * size, foot - y);
        foot -= tall;
        group.append(s('rect', {x, y: foot, width: size, height: tall, rx: tall > 3 ? 1.5 : 0, fill: colour(STATES[k][0])}));
      });
      address += cellBytes;
      group.addEventListener('mousemove', event => show(event, `0x${from.toString(16)}: ` +
        cell.parts.map((part, k) => part > 0 ? `${Math.round(part * 100)} % ${STATES[k][1]}` : '').filter(Boolean).join(', ')));
    }
    group.addEventListener('mouseleave', () => { tip.style.display = 'none'; });
    svg.append(group);
    place += wide;
  }
  const rows = Math.ceil(place / perRow);
  svg.setAttribute('viewBox', `0 0 ${perRow * pitch} ${rows * pitch}`);
  svg.setAttribute('style', `width:${perRow * pitch}px;max-width:100%`);
  return svg;
}
function shares(one) {
  return [['in memory', one.resident_bytes], ['swapped', one.swapped_bytes], ['one word', one.filled_bytes]]
    .filter(part => part[1] > 0).map(part => `${bytes(part[1])} ${part[0]}`).join(', ') || 'never touched';
}
function drawProcess(process, width) {
  const side = innerWidth > 760 ? 250 : 0;
  return h('div', {class: 'process'},
    h('div', {class: 'head'}, h('code', {}, process.command || '?'), h('span', {class: 'key'}, `process ${process.pid}`),
      h('span', {class: 'key'}, shares(process)), h('span', {class: 'key'}, `a cell is ${bytes(process.cell_bytes)}`),
      process.managed ? null : h('span', {class: 'key'}, h('b', {}, 'runs unmanaged'))),
    process.regions.map(region => h('div', {class: 'region'},
      h('div', {}, h('div', {class: 'name'}, region.kind + (region.name ? `: ${region.name}` : '')),
        h('div', {class: 'where'}, h('code', {}, `0x${region.start.toString(16)}`), `  ${bytes(region.bytes)}`),
        h('div', {class: 'share'}, shares(region))),
      h('div', {}, drawCells(region, process.cell_bytes, width - side)))),
    process.small_regions > 0 ? h('p', {class: 'hint'}, `and ${exact(process.small_regions)} smaller mappings: ${shares(process.small)}`) : null);
}
function mapCard() {
  if (R.maps.length === 0) return null;
  const body = h('div', {}), output = h('output', {});
  const peak = R.maps.reduce((best, map, i) => map.wanted_bytes > R.maps[best].wanted_bytes ? i : best, 0);
  const slider = h('input', {type: 'range', min: 0, max: R.maps.length - 1, value: peak, 'aria-label': 'time',
    oninput: () => draw()});
  const card = h('section', {class: 'card'},
    h('div', {class: 'head'}, h('h2', {}, 'Address space'),
      STATES.map(([name, text]) => h('span', {class: 'key'}, h('i', {style: `background:${colour(name)}`}), text))),
    R.maps.length > 1 ? h('div', {class: 'slider'}, slider, output) : null, body);
  function draw() {
    const index = +slider.value, map = R.maps[index];
    output.textContent = `after ${seconds(map.time_ms)}: ${bytes(map.wanted_bytes)} wanted${index === peak ? ' (the most)' : ''}`;
    body.replaceChildren(...map.processes.map(process => drawProcess(process, Math.max(body.clientWidth, 240))));
    if (map.other_processes > 0) body.append(h('p', {class: 'hint'}, `and ${map.other_processes} smaller processes`));
  }
  charts.push({card, draw, mark() {}});
  return card;
}

// --- the page ---
function tile(label, value, note, share, name) {
  return h('div', {class: 'card tile'}, h('div', {class: 'label'}, label), h('div', {class: 'value'}, value),
    h('div', {class: 'note'}, note),
    share === undefined ? null : h('div', {class: 'meter'},
      h('i', {style: `width:${Math.min(100, 100 * share).toFixed(1)}%;background:${colour(name)}`})));
}
function tiles() {
  const out = R.pages_out * PAGE, into = R.pages_in * PAGE;
  const ratio = R.peak_image_bytes > 0 ? R.peak_stored_bytes / R.peak_image_bytes : 0;
  return h('div', {class: 'tiles'},
    tile('Elapsed', seconds(R.elapsed_ns / 1e6), R.outcome),
    tile('Peak resident', bytes(R.peak_resident_bytes),
      R.overshoot_bytes > 0 ? `of ${bytes(R.budget_bytes)}; overshoot ${bytes(R.overshoot_bytes)}` : `of ${bytes(R.budget_bytes)}, never above`,
      R.peak_resident_bytes / R.budget_bytes, 'resident'),
    tile('Peak wanted', bytes(R.peak_wanted_bytes), `${(R.peak_wanted_bytes / R.budget_bytes).toFixed(1)} times the budget`),
    tile('Stalled', seconds(R.stalled_ns / 1e6), `${percent(R.stalled_ns, R.elapsed_ns)} of the time, ${exact(R.faults)} faults`,
      R.stalled_ns / R.elapsed_ns, 'stall'),
    tile('Evicted', bytes(out), `${bytes(into)} came back, ${percent(R.rescued, R.pages_in)} rescued`),
    tile('Compression', ratio > 0 ? `${ratio.toFixed(1)} : 1` : '–',
      ratio > 0 ? `${bytes(R.peak_stored_bytes)} took ${bytes(R.peak_image_bytes)}` : 'nothing was compressed'));
}
function details() {
  const row = (name, value, why) => h('tr', {}, h('td', {}, name), h('td', {class: 'number'}, value), h('td', {}, why));
  const rows = [
    row('fresh pages', exact(R.fresh_pages), 'came in as zeros'),
    row('brought back', exact(R.pages_in), 'pages that came in with content'),
    row('rescued', exact(R.rescued), 'of these, before they were compressed'),
    row('evicted', exact(R.pages_out), 'pages that left'),
    row('unchanged', exact(R.clean), 'of these, as they had come: not stored anew'),
    row('one word', exact(R.filled), 'of these, of one repeated word: they take no room'),
    row('stored', exact(R.stored), 'of these, compressed or written'),
    row('busy', exact(R.busy), 'pages that the kernel or another process held'),
    row('waited for room', seconds(R.waited_ns / 1e6), 'by all faults together'),
    row('address spaces', exact(R.address_spaces), `programs and forks (${exact(R.forks)})`)];
  R.tiers.forEach((tier, i) => rows.push(row(`tier ${i + 1}: ${tier.kind}`, exact(tier.stores),
    `pages taken, ${exact(tier.loads)} given back` +
    (tier.kind === 'file' ? `; ${bytes(tier.written_bytes)} written, ${bytes(tier.read_bytes)} read` : ''))));
  return h('section', {class: 'card', style: 'margin-top:14px'}, h('h2', {style: 'margin-bottom:6px'}, 'In numbers'),
    h('table', {}, rows));
}
function build() {
  const command = R.command.map(word => /^[\w@%+=:,.\/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  document.getElementById('report').replaceChildren(
    h('h1', {}, `holdfast run --memory ${bytes(R.budget_bytes)}`),
    h('div', {class: 'command'}, h('code', {}, command.length > 300 ? `${command.slice(0, 300)} …` : command)),
    h('p', {class: 'about'}, `${date(R.started)} · ${R.outcome}`),
    tiles(),
    h('div', {class: 'charts'},
      chart({title: 'Memory', wide: true, base: 1024, text: bytes, least: R.budget_bytes,
        line: {name: 'budget', value: R.budget_bytes},
        series: [{key: 'wanted_bytes', name: 'wanted', colour: 'swapped', area: 0.22},
          {key: 'resident_bytes', name: 'resident', colour: 'resident', area: 0.8, stack: true},
          {key: 'compressed_bytes', name: 'compressed pages', colour: 'filled', area: 0.8, stack: true}]}),
      chart({title: 'Evicted', base: 1024, text: bytes, least: 1 << 20,
        series: [{key: 'compressed_bytes', name: 'takes in memory', colour: 'filled', area: 0.5, stack: true},
          {key: 'file_bytes', name: 'in files', colour: 'file', area: 0.5, stack: true},
          {key: 'evicted_bytes', name: 'evicted', colour: 'swapped'}]}),
      chart({title: 'Traffic per second', base: 1024, text: bytes, least: 1 << 20,
        series: [{key: 'out_bytes_per_s', name: 'out', colour: 'out', rate: true, area: 0.15},
          {key: 'in_bytes_per_s', name: 'in', colour: 'in', rate: true, area: 0.15}]}),
      chart({title: 'Faults per second', base: 10, text: count, least: 10,
        series: [{key: 'faults_per_s', name: 'faults', colour: 'faults', rate: true, area: 0.2}]}),
      chart({title: 'Stalled', base: 10, text: value => `${value.toFixed(0)} %`, top: 100,
        series: [{key: 'stalled_percent', name: 'some process waited', colour: 'stall', rate: true, area: 0.25}]})),
    mapCard() || '', details(), tip);
  charts.forEach(each => each.draw());
  let timer = 0;
  addEventListener('resize', () => { clearTimeout(timer); timer = setTimeout(() => charts.forEach(each => each.draw()), 100); });
}
build();
