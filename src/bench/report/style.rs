//! Colours and lines of pages and pictures.
//!
//! Invariant: what differs in colour also differs in its line, its shape or its words.

/// For pages and for pictures alone; both follow the reader's choice of light or dark.
pub(super) const STYLE: &str = "\
:root{--paper:#ffffff;--ink:#1c2128;--soft:#57606a;--rule:#d8dee4;--panel:#f6f8fa;\
--main:#0a5cbf;--second:#a8480a;--third:#57606a;--bad:#c01f2e;--band:#f3c1c5}
@media (prefers-color-scheme:dark){:root{--paper:#0f1419;--ink:#e6edf3;--soft:#9aa5b1;--rule:#2d353e;\
--panel:#171d24;--main:#6cb0ff;--second:#f0a35c;--third:#9aa5b1;--bad:#ff7b82;--band:#5a2429}}
svg text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:var(--ink)}
svg text.heading{font-size:14px;font-weight:600}
svg text.title{font-size:18px;font-weight:600}
svg text.soft,svg text.tick{fill:var(--soft)}
svg text.tick{font-size:11px}
svg text.inside{font-size:11px;font-weight:600;fill:var(--paper)}
.paper{fill:var(--paper)}
.grid{stroke:var(--rule);stroke-width:1}
.base{stroke:var(--soft);stroke-width:1}
path{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.total,.p50{stroke:var(--main)}
.p99{stroke:var(--second);stroke-dasharray:6 4}
.max{stroke:var(--third);stroke-width:1.2;stroke-dasharray:1 3.5}
.b0,.b1,.b2,.b3,.b4,.b5{stroke-width:1.3}
.b0{stroke:var(--second)}.b1{stroke:var(--third);stroke-dasharray:7 3}.b2{stroke:var(--ink);stroke-dasharray:2 3}
.b3{stroke:var(--second);stroke-dasharray:9 3 2 3}.b4{stroke:var(--third);stroke-dasharray:4 4}
.b5{stroke:var(--ink);stroke-dasharray:12 4}
.bar{fill:var(--main)}
.other{fill:var(--third)}
.failed{fill:var(--bad)}
.band{fill:var(--band);fill-opacity:.55;stroke:var(--bad);stroke-width:1;stroke-dasharray:3 2}
.moment{stroke:var(--bad);stroke-width:1.5}
.number{fill:var(--bad)}
.touch{fill:transparent}
.touch:hover{fill:var(--soft);fill-opacity:.14}
";

/// What a page has besides its picture.
pub(super) const PAGE_STYLE: &str = "\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:920px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}
p.soft,dt{color:var(--soft)}
dl.head{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:18px 0}
dl.head div{background:var(--panel);border:1px solid var(--rule);border-radius:6px;padding:8px 12px}
dl.head dt{font-size:13px}dl.head dd{margin:0;font-size:20px;font-weight:600;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
svg{display:block;width:100%;min-width:640px;height:auto}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:3px 16px 3px 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{color:var(--soft);font-weight:500}
td.n,th.n{text-align:right}
td.break{overflow-wrap:anywhere}
pre{background:var(--panel);border:1px solid var(--rule);border-radius:6px;padding:10px 12px;\
overflow-x:auto;font-size:13px}
summary{cursor:pointer;color:var(--soft)}
";
