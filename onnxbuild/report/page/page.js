"use strict";
// The number at the beginning of a cell, else its text: a cell without a value goes last in both directions.
function keyOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return text === "\u2013" || text === "" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
}
function compare(one, other, way) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return way * (one < other ? -1 : one > other ? 1 : 0);
}
function sortBy(table, column, head) {
  const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
  rows.sort((one, other) => compare(one[0], other[0], way));
  body.append(...rows.map((pair) => pair[1]));
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortBy(table, column, head));
  });
}
const theme = document.getElementById("theme");
const root = document.documentElement;
function isDark() {
  const chosen = root.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
theme.setAttribute("aria-pressed", String(isDark()));
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  theme.setAttribute("aria-pressed", String(isDark()));
});
addEventListener("beforeprint", () => document.querySelectorAll("#steps > details").forEach((one) => { one.open = true; }));
