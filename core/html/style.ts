// SPDX-License-Identifier: Apache-2.0
/** The page's style sheet, for a light and a dark room. Its hash stands in the content security policy. */
export const STYLE = `
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1a2230; --quiet: #667084;
  --line: #dfe3ea; --good: #1a7f4b; --bad: #b3261e; --warn: #96650a; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161d; --card: #1a2029; --ink: #e4e8ef;
  --quiet: #93a0b4; --line: #2c3543; --good: #5fd39a; --bad: #ff8a80; --warn: #f0c060; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .75rem; margin-bottom: 1.25rem; }
h1 { margin: 0; font-size: 1.5rem; letter-spacing: -.02em; }
h2 { margin: 0 0 .75rem; font-size: 1.05rem; }
h3 { margin: 0; font-size: .85rem; font-weight: 500; color: var(--quiet); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem 1.25rem;
  margin-bottom: 1.1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1.1rem; padding: 0;
  border: 0; background: none; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1.1rem; }
.card p { margin: 0; color: var(--quiet); font-size: .9rem; }
.card .value { font-size: 1.8rem; font-weight: 600; color: var(--ink); font-variant-numeric: tabular-nums; }
.card.bad .value { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; font-weight: 500; color: var(--quiet); white-space: nowrap; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bad { color: var(--bad); font-weight: 600; }
.path { color: var(--quiet); overflow-wrap: anywhere; font-size: .85rem; }
.quiet, .quiet a { color: var(--quiet); }
.tag { display: inline-block; padding: 0 .55rem; border: 1px solid currentColor; border-radius: 99px;
  font-size: .82rem; font-weight: 600; }
.clean { color: var(--good); } .malicious, .error { color: var(--bad); } .incomplete { color: var(--warn); }
.problems { margin: 0 0 1.1rem; padding: .8rem 1.25rem .8rem 2.2rem; border: 1px solid var(--bad);
  border-radius: 10px; color: var(--bad); background: var(--card); }
footer { display: flex; gap: 1.2rem; font-size: .9rem; }
`;
