"""The page's style and its little script: tooltips and sorting, without either of which it can be read."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1b1d20; --muted: #60656c;
  --rule: #dfdfd8; --faint: #ecece6; --best: #0b62a4; --default: #85898f; --fail: #c2470f;
  --h0: #0b4f86; --h1: #2068a3; --h2: #3b7db3; --h3: #83b2d8; --h4: #adcde6; --h5: #cfe1f0; --h6: #e6eef5;
  --t-near: #fff; --t-far: #24303a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --ink: #e9e9e5; --muted: #9ba1a9; --rule: #33373e; --faint: #262a30;
    --best: #62b6f2; --default: #868c95; --fail: #f28a57; --h0: #a5d4f5; --h1: #70b1e0;
    --h2: #4a8fc0; --h3: #37719c; --h4: #2d587a; --h5: #26435b; --h6: #223243; --t-near: #0e1a24; --t-far: #e3e8ec; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial,
  sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1040px; margin: 0 auto; padding: 44px 32px 56px; }
h1 { font-size: 31px; line-height: 1.15; font-weight: 650; letter-spacing: -.015em; margin: 2px 0 10px; }
h2 { font-size: 19px; font-weight: 650; letter-spacing: -.01em; margin: 52px 0 2px; }
p { margin: 0; max-width: 68ch; }
.over, .note, dt, footer { color: var(--muted); }
.over { font-size: 13px; letter-spacing: .04em; }
.note { font-size: 14px; margin-bottom: 16px; }
.lead { font-size: 18px; line-height: 1.45; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); margin: 30px 0 0; border-top: 1px solid var(--rule); }
.tiles div { padding: 12px 14px 0 0; }
.tiles b { display: block; font-size: 27px; font-weight: 600; line-height: 1.2; letter-spacing: -.02em; }
.tiles span { color: var(--muted); font-size: 13px; display: block; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg.narrow { display: none; }
svg.defs { position: absolute; width: 0; height: 0; }
svg text { font-size: 12px; fill: var(--ink); }
.axis text { font-size: 11px; fill: var(--muted); }
.grid path { stroke: var(--faint); fill: none; }
.grid path.one { stroke: var(--default); stroke-dasharray: 3 3; }
.roof { fill: none; stroke: var(--muted); stroke-width: 1.5; }
.ridge { fill: var(--paper); stroke: var(--muted); stroke-width: 1.5; }
svg .roof-name { fill: var(--muted); font-size: 11.5px; }
.link { stroke: var(--best); stroke-width: 1.5; opacity: .55; fill: none; }
circle.default { fill: var(--paper); stroke: var(--default); stroke-width: 1.5; }
circle.best { fill: var(--best); stroke: var(--paper); stroke-width: 1.2; }
.name { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; color: var(--muted); margin: 0 0 8px; }
.key svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; margin-right: 6px; }
.panels { display: grid; gap: 26px 32px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
.panel { break-inside: avoid; min-width: 0; display: flex; flex-direction: column; }
.rising svg { margin-top: auto; }
.panel h3 { font-size: 13.5px; font-weight: 600; margin: 0; display: flex; justify-content: space-between;
  gap: 0 10px; flex-wrap: wrap; }
.panel h3 b { font-weight: 600; white-space: nowrap; }
.panel h3 .gain, .gain { color: var(--best); }
.panel .sub { font-size: 12px; color: var(--muted); margin-bottom: 4px; line-height: 1.35; overflow-wrap: anywhere; }
.dots circle { fill: var(--default); opacity: .7; }
.steps { fill: none; stroke: var(--best); stroke-width: 1.8; }
.failures { stroke: var(--fail); stroke-width: 1.4; fill: none; }
.h0 { fill: var(--h0); }
.h1 { fill: var(--h1); }
.h2 { fill: var(--h2); }
.h3 { fill: var(--h3); }
.h4 { fill: var(--h4); }
.h5 { fill: var(--h5); }
.h6 { fill: var(--h6); }
svg .t0, svg .t1, svg .t2 { fill: var(--t-near); font-size: 11px; }
svg .t3, svg .t4, svg .t5, svg .t6 { fill: var(--t-far); font-size: 11px; }
.chosen { stroke: var(--ink); stroke-width: 2; }
rect.hatched { fill: url(#hatch); stroke: var(--fail); stroke-opacity: .5; }
.hatch { stroke: var(--fail); stroke-width: 1.1; fill: none; }
rect.untried { fill: none; stroke: var(--faint); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 12.5px; color: var(--muted);
  margin: 0 0 18px; max-width: none; }
.legend svg { display: inline-block; width: 22px; height: 12px; margin-right: 5px; vertical-align: -1px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; line-height: 1.4; }
th { text-align: left; font-weight: 500; color: var(--muted); padding: 4px 12px 6px 0;
  border-bottom: 1px solid var(--ink); vertical-align: bottom; white-space: nowrap; }
.long { max-height: 75vh; overflow: auto; border-bottom: 1px solid var(--rule); }
.long th { position: sticky; top: 0; background: var(--paper); }
td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--faint); vertical-align: top; }
.n { text-align: right; white-space: nowrap; }
td:last-child, th:last-child { padding-right: 0; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--best); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
code { font: 12px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
td b { font-weight: 600; }
td .sub { color: var(--muted); display: block; overflow-wrap: anywhere; }
.bad { color: var(--fail); }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: 7px 14px; font-size: 13.5px; margin: 0 0 22px; }
.bars i { display: inline-block; height: 12px; background: var(--fail); margin-right: 8px; vertical-align: -1px;
  min-width: 2px; border-radius: 1px; }
.bars span { color: var(--muted); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 22px; font-size: 14px; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 56px; font-size: 13px; }
#tip { position: fixed; pointer-events: none; z-index: 9; background: var(--ink); color: var(--paper);
  font-size: 12.5px; line-height: 1.4; padding: 6px 9px; border-radius: 4px; white-space: pre-wrap;
  max-width: min(340px, 90vw); }
.point:hover circle.best { stroke: var(--ink); }
@media (max-width: 640px) {
  main { padding: 26px 18px 40px; }
  h1 { font-size: 25px; }
  .lead { font-size: 16.5px; }
  svg.wide { display: none; }
  svg.narrow { display: block; }
  .tiles { grid-template-columns: 1fr 1fr; }
  h2 { margin-top: 40px; }
  .bars { grid-template-columns: 1fr; gap: 2px; }
  .bars span { margin-bottom: 8px; }
  table.cards, .cards tbody, .cards tr, .cards td { display: block; }
  .cards thead { display: none; }
  .cards tr { padding: 10px 0; border-bottom: 1px solid var(--rule); }
  .cards td { border: 0; padding: 1px 0; display: flex; justify-content: space-between; gap: 18px;
    text-align: right; }
  .cards td::before { content: attr(data-name); color: var(--muted); text-align: left; white-space: nowrap; }
  .cards td:first-child::before { content: none; }
  .cards td:first-child { display: block; text-align: left; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --muted: #444; --rule: #bbb; --faint: #ddd; --best: #0b62a4;
    --default: #777; --fail: #b03c08; --h0: #0b4f86; --h1: #2068a3; --h2: #3b7db3;
    --h3: #83b2d8; --h4: #adcde6; --h5: #cfe1f0; --h6: #e6eef5; --t-near: #fff; --t-far: #24303a; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  body { font-size: 10.5pt; }
  table { font-size: 8pt; }
  code { font-size: 7.5pt; }
  tr, .panel, section > svg { break-inside: avoid; }
  h2, .note, .legend, .key { break-after: avoid; }
  .panel h3 { font-size: 9.5pt; }
  .bars { break-inside: avoid; }
  .long { max-height: none; overflow: visible; }
  .panels { grid-template-columns: repeat(3, 1fr); gap: 18px 22px; }
  #tip { display: none; }
}
"""

SCRIPT = """
"use strict";
const tip = document.createElement("div");
tip.id = "tip"; tip.hidden = true; document.body.append(tip);
for (const title of document.querySelectorAll("svg title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}
document.addEventListener("pointermove", event => {
  const over = event.target.closest && event.target.closest("[data-tip]");
  tip.hidden = !over;
  if (!over) return;
  tip.textContent = over.dataset.tip;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  const below = event.clientY + 18, above = event.clientY - box.height - 10;
  tip.style.top = (below + box.height > innerHeight ? above : below) + "px";
});
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentNode, table = head.closest("table"), at = head.cellIndex;
  const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.className === "n";
  const key = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
  const rows = [...table.tBodies[0].rows].sort((a, b) => key(a).localeCompare(key(b), "en", {numeric: true}));
  if (head.className === "n") rows.sort((a, b) => key(a) - key(b));
  if (down) rows.reverse();
  for (const each of table.querySelectorAll("th")) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
});
"""
