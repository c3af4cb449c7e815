"""How the page looks, by day and by night, on a wide screen and on a telephone."""

STYLESHEET = """
:root{color-scheme:light dark;--page:#f6f7f9;--paper:#fff;--ink:#1c2430;--soft:#5b6675;--line:#dfe3e9;
--bar:#4a7fb5;--bad:#c2410c;--bad-soft:#fff1e8;--good:#0f766e}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--paper:#1b2129;--ink:#e6eaf0;--soft:#9aa6b5;
--line:#2e3742;--bar:#6ea3d8;--bad:#fb923c;--bad-soft:#33221a;--good:#5eead4}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:2rem 1.25rem 5rem;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
h1{font-size:2.5rem;line-height:1.1;margin:.2rem 0 .8rem;letter-spacing:-.02em}
h2{font-size:1.6rem;margin:3.2rem 0 0;letter-spacing:-.01em}
h3{font-size:1.15rem;margin:0 0 .35rem}
h4{margin:1.4rem 0 .5rem;font-size:.95rem}
p{margin:.4rem 0}
code{font:.9em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.kicker{color:var(--soft);font-size:.85rem;letter-spacing:.04em;margin:0}
.lead{max-width:46rem;font-size:1.05rem}
.sub{color:var(--soft);font-size:.9rem}
nav{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.75rem;margin:1.5rem 0 0}
.card{display:block;padding:.8rem 1rem;border-radius:.7rem;background:var(--paper);color:inherit;
text-decoration:none;border:1px solid var(--line);border-left:.35rem solid var(--good)}
.card:hover,.card:focus-visible{border-color:var(--bar)}
.card b,.card span,.card small{display:block;overflow-wrap:anywhere}
.card span{color:var(--good);font-weight:600}
.card.bad{border-left-color:var(--bad)}
.card.bad span{color:var(--bad)}
.card small{color:var(--soft)}
.clean{color:var(--good);font-weight:600;margin:1rem 0}
.finding{display:grid;grid-template-columns:11.5rem 1fr;gap:.5rem 1.5rem;margin:1rem 0;padding:1.2rem 1.3rem;
background:var(--paper);border:1px solid var(--line);border-left:.35rem solid var(--bad);border-radius:.7rem}
.numbers strong{display:block;font-size:2.1rem;line-height:1.1;color:var(--bad);font-variant-numeric:tabular-nums}
.numbers span{display:block;font-weight:600}
.numbers small{display:block;color:var(--soft);margin-top:.3rem}
.words{max-width:44rem}
.causes{color:var(--soft);font-size:.95rem}
.hint{background:var(--bad-soft);padding:.3rem .6rem;border-radius:.4rem;display:inline-block}
.gallery{grid-column:1/-1;display:grid;grid-template-columns:repeat(auto-fill,minmax(13.5rem,1fr));gap:.8rem;
margin-top:.6rem}
.gallery figure{margin:0;min-width:0}
.gallery img{display:block;width:100%;height:15rem;object-fit:contain;background:#0b0d10;border-radius:.45rem}
figcaption{font-size:.85rem;color:var(--soft);margin-top:.25rem;overflow-wrap:anywhere}
figcaption b{color:var(--ink)}
details{margin:1rem 0;background:var(--paper);border:1px solid var(--line);border-radius:.7rem;padding:.2rem 1.1rem}
details[open]{padding-bottom:1rem}
summary{cursor:pointer;padding:.55rem 0;font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(16.5rem,1fr));gap:1.3rem 1.6rem;margin-top:.8rem}
.chart{margin:0}
.chart figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 .6rem;margin:0 0 .3rem}
svg{display:block;width:100%;height:auto}
svg text{font-size:10.5px;fill:var(--soft)}
.bar{fill:var(--bar)}rect.bad{fill:var(--bad)}
.axis{stroke:var(--line)}.median{stroke:var(--ink);stroke-width:1.3}
.bound{stroke:var(--bad);stroke-width:1.3;stroke-dasharray:4 3}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);font-size:.85rem}
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:0}
td small{display:block;color:var(--soft);font:.8rem ui-monospace,"DejaVu Sans Mono",monospace}
tr.bad td{color:var(--bad);font-weight:600}
.bars ul{list-style:none;margin:0;padding:0;columns:18rem;column-gap:2rem}
.bars li{display:grid;grid-template-columns:8.5rem 1fr 3.2rem;gap:.6rem;align-items:center;font-size:.85rem;
break-inside:avoid}
.bars i{background:var(--line);border-radius:.3rem;height:.5rem;overflow:hidden}
.bars i b{display:block;height:100%;background:var(--bar)}
.bars em{font-style:normal;text-align:right;font-variant-numeric:tabular-nums}
.bars span{overflow:hidden;text-overflow:ellipsis}
@media (max-width:640px){body{padding:1.2rem .8rem 3rem}h1{font-size:2rem}
.finding{grid-template-columns:1fr;padding:1rem}.gallery{grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr))}
.gallery img{height:11rem}}
@media print{body{background:#fff}details{break-inside:avoid}}
""".strip()
