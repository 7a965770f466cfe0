// SPDX-License-Identifier: Apache-2.0
/** What the page for analysts adds to the common style sheet. */
export const ANALYSIS_STYLE = `
:root { --hop: #c2255c; --fresh: #e8590c; --run: #4c78c9; --written: #e0b13c; --context: #c3cad6; --lost: #111; }
@media (prefers-color-scheme: dark) { :root { --hop: #ff6b9d; --fresh: #ff922b; --run: #6f9bea; --written: #c9a227;
  --context: #465063; --lost: #fff; } }
nav { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; padding: .6rem 0;
  background: var(--paper); font-size: .9rem; margin-bottom: .6rem; }
nav a { color: var(--quiet); text-decoration: none; } nav a:hover { color: var(--ink); }
section > h3 { margin: 1rem 0 .4rem; color: var(--ink); }
.code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .82rem; }
main > .cards { margin-bottom: 1.1rem; }
pre { margin: .3rem 0; overflow-x: auto; line-height: 1.45; }
pre b { color: var(--hop); }
.hash { overflow-wrap: anywhere; }
.text { color: var(--good); }
.exception td { color: var(--bad); }
.evidence td { padding-top: 0; border-bottom-color: transparent; }
.tall { max-height: 34rem; overflow: auto; } .tall thead th { position: sticky; top: 0; background: var(--card); }
.tools { display: flex; gap: 1rem; align-items: center; margin: 0 0 .6rem; }
input { flex: 0 1 24rem; padding: .35rem .6rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--paper); color: var(--ink); font: inherit; }
summary { cursor: pointer; color: var(--quiet); font-size: .9rem; }
svg { display: block; } svg text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: var(--quiet); }
.label path { fill: none; stroke: var(--quiet); } .rule { stroke: var(--line); }
.bar .b { fill: var(--line); } .bar .first { fill: none; stroke: var(--line); }
.bar text { text-anchor: middle; fill: var(--ink); font-size: 12px; }
.s-hop { fill: var(--hop); background: var(--hop); } .s-fresh { fill: var(--fresh); background: var(--fresh); }
.s-run { fill: var(--run); background: var(--run); } .s-written { fill: var(--written); background: var(--written); }
.s-context { fill: var(--context); background: var(--context); } .s-lost { fill: var(--lost); background: var(--lost); }
.s-call { background: var(--quiet); } .s-exception { background: var(--bad); }
a:hover rect { stroke: var(--ink); stroke-width: 1.5; }
.t-hop { stroke: var(--hop); stroke-width: 3; } .t-fresh { stroke: var(--fresh); } .t-run { stroke: var(--run); }
.t-written { stroke: var(--written); } .t-call { stroke: var(--quiet); } .t-exception { fill: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .4rem 0; padding: 0; list-style: none;
  font-size: .85rem; color: var(--quiet); }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .45em; border-radius: 2px; }
.entries { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: .6rem 1.6rem; }
.entries h3 { margin-bottom: 0; }
@media print { nav, .tools { display: none; } .tall { max-height: none; } }
`;
