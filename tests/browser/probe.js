// What WCAG 2.2 AA asks of what a page shows now, as far as a browser can measure it:
// contrast of text (1.4.3) and of fields (1.4.11), no sideways scrolling (1.4.10),
// targets of 24 by 24 (2.5.8). Answers with complaints.
(() => {
  const found = [];
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (at) => {
    for (; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const say = (at, what) => found.push(`${at.localName}#${at.id} "${at.textContent.trim().slice(0, 30)}": ${what}`);
  for (const at of document.body.querySelectorAll("*")) {
    if (!at.checkVisibility() || at.localName === "noscript") continue;
    const style = getComputedStyle(at), box = at.getBoundingClientRect();
    if ([...at.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || at.localName === "input") {
      const got = ratio(parts(style.color), behind(at));
      if (got < 4.5) say(at, `text has a contrast of ${got.toFixed(2)}`);
    }
    if (at.matches("input:not([type=checkbox]), button")) {
      const got = ratio(parts(style.borderTopColor), behind(at.parentElement));
      if (got < 3) say(at, `its edge has a contrast of ${got.toFixed(2)}`);
    }
    if (at.matches("input:not([type=checkbox]), button, label.choice") && (box.width < 24 || box.height < 24)) say(at, "it is too small to hit");
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} wide in a window of ${page.clientWidth}`);
  if (!page.lang || !document.title) found.push("the page has no language or no title");
  return found;
})()
