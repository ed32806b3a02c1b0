// The table of classes: a click on a column's title sorts by it, a word finds classes. The page is whole without it.
(() => {
  "use strict";
  const table = document.getElementById("classes-table");
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  const names = new Intl.Collator("en", { numeric: true });
  const value = (row, column) => Number(row.cells[column].dataset.value);
  const name = (row) => row.cells[0].textContent;

  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      // Numbers begin with the largest, names with A.
      const first = column === 0 ? "ascending" : "descending";
      const second = column === 0 ? "descending" : "ascending";
      const order = title.getAttribute("aria-sort") === first ? second : first;
      titles.forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const compare = column === 0
        ? (a, b) => names.compare(name(a), name(b))
        : (a, b) => value(a, column) - value(b, column);
      body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
    });
  });

  const tools = document.getElementById("class-tools");
  if (!tools) return;
  const filter = document.getElementById("class-filter");
  const tally = document.getElementById("class-tally");
  const all = tally.textContent;
  tools.hidden = false;
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let found = 0;
    for (const row of body.rows) {
      row.hidden = !name(row).toLowerCase().includes(wanted);
      found += row.hidden ? 0 : 1;
    }
    tally.textContent = wanted ? `${found.toLocaleString("en")} of ${all}` : all;
  });
})();
