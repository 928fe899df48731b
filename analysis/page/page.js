// Filters and sorts the findings, and opens what is folded where it is linked to or printed.
"use strict";

{
  const form = document.getElementById("finding-filters");
  const table = document.querySelector("table.findings");

  function filter() {
    let left = 0;
    for (const body of table.tBodies) {
      body.hidden = [...form.elements].some(
        one => one.name && one.value && body.dataset[one.name] !== one.value);
      left += !body.hidden;
    }
    form.querySelector("output").value = `${left} of ${table.tBodies.length} shown`;
  }

  function sort(head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const one of head.parentNode.children) one.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = body => body.rows[0].cells[head.cellIndex].textContent;
    const compare = (a, b) => key(a).localeCompare(key(b), "en", {numeric: true});
    const sorted = [...table.tBodies].sort((a, b) => (down ? compare(b, a) : compare(a, b)));
    table.append(...sorted);
  }

  if (table) {
    form.hidden = false;
    form.addEventListener("change", filter);
    form.addEventListener("submit", event => event.preventDefault());
    filter();
    for (const head of table.tHead.rows[0].cells)
      head.firstChild.addEventListener("click", () => sort(head));
  }

  function follow() {
    // Who follows a link to a finding sees it, whatever was filtered.
    const target = document.getElementById(location.hash.slice(1));
    if (!target || target.tagName !== "TBODY") return;
    if (target.hidden) {
      form.reset();
      filter();
    }
    target.querySelector("details").open = true;
    target.scrollIntoView();
    target.focus({preventScroll: true});
  }

  addEventListener("hashchange", follow);
  follow();
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
}
