"use strict";
// The page is complete without this. It hides what is of other namespaces, and counts again what is left.
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const seen = (selector, inside) => all(selector, inside).filter((element) => !element.closest("[hidden]"));
  const written = (count) => count.toLocaleString("en");
  const form = document.getElementById("filter");
  const select = document.getElementById("namespace");
  const parts = all("[data-namespace]");
  const periods = all("#calendar tr[data-until]").map((row) => ({ row, until: Date.parse(row.dataset.until) }));

  const wanted = () => new URLSearchParams(location.hash.slice(1)).get("namespace") ?? "";

  // Each time is counted in the first period that ends after it: the server left out only periods in which nothing happens.
  const countPeriods = () => {
    for (const column of ["renewal", "end"]) {
      const counts = new Map();
      for (const time of seen(`#certificates time.${column}`)) {
        const moment = Date.parse(time.dateTime);
        const period = periods.find(({ until }) => moment < until);
        counts.set(period, (counts.get(period) ?? 0) + 1);
      }
      for (const period of periods) period[column] = counts.get(period) ?? 0;
    }
    const most = Math.max(1, ...periods.flatMap(({ renewal, end }) => [renewal, end]));
    for (const { row, renewal, end } of periods) {
      [renewal, end].forEach((count, at) => {
        const cell = row.cells[at + 1];
        cell.querySelector(".number").textContent = written(count);
        cell.querySelector("rect").setAttribute("width", (100 * count) / most);
      });
      row.hidden = renewal + end === 0;
    }
    for (const month of all("#calendar tbody")) month.hidden = all("tr[data-until]", month).every((row) => row.hidden);
  };

  const show = () => {
    const namespace = wanted();
    select.value = namespace;
    for (const part of parts) part.hidden = namespace !== "" && part.dataset.namespace !== namespace;
    for (const block of all("[data-counted]")) {
      // A block that was hidden before must not hide what is in it from the count.
      block.hidden = false;
      const count = all("li[data-namespace]:not([hidden])", block).length;
      block.querySelector(".count").textContent = written(count);
      block.hidden = count === 0;
    }
    for (const figure of all("nav [data-of]")) figure.textContent = written(seen(figure.dataset.of).length);
    for (const fold of all("details.more, #calendar details")) fold.open = namespace !== "";
    countPeriods();
    const rows = written(seen("#certificates tr[data-row]").length);
    document.getElementById("shown").textContent =
      namespace === "" ? "" : `Only namespace ${namespace} is shown: ${rows} of ${select.dataset.all} certificates.`;
  };

  const counts = new Map();
  for (const part of parts) {
    const { namespace } = part.dataset;
    counts.set(namespace, (counts.get(namespace) ?? 0) + all("tr[data-row]", part).length);
  }
  for (const [name, count] of [...counts].sort(([one], [other]) => (one < other ? -1 : 1))) {
    select.add(new Option(`${name} (${written(count)})`, name));
  }
  select.addEventListener("change", () => {
    // Unlike an assignment to the hash this moves nothing on the screen.
    history.replaceState(null, "", `#${select.value && new URLSearchParams({ namespace: select.value })}`);
    show();
  });
  addEventListener("hashchange", show);
  form.hidden = false;
  if (wanted() !== "") show();
})();
