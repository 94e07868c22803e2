// Tables that are sorted by a click on a title and filtered: DataTables; without scripts they read as they are. And a
// click on a point of the plot of gains opens a run.
"use strict";

const PAGE = 50; // lines

window.datatables.then(({ default: DataTable }) => {
  for (const table of document.querySelectorAll("table.sortable")) {
    const filtered = table.classList.contains("filtered");
    const long = table.tBodies[0].rows.length > PAGE;
    new DataTable(table, {
      order: [],
      autoWidth: false,
      paging: long,
      pageLength: PAGE,
      layout: {
        topStart: filtered ? { search: { text: "Filter", placeholder: "words in a line" } } : null,
        topEnd: filtered ? "info" : null,
        bottomStart: null,
        bottomEnd: long ? "paging" : null,
      },
      language: { info: "_TOTAL_ lines", infoFiltered: "of _MAX_", infoEmpty: "no line", emptyTable: "no line", zeroRecords: "no line" },
      columnDefs: [
        { targets: ".n", type: "num", orderSequence: ["desc", "asc"] }, // the highest first
        { targets: ".choice", columnControl: [["searchList"]] },
      ],
    });
  }
});
const gains = document.getElementById("gains");
gains?.on("plotly_click", (event) => {
  location.href = `runs/${event.points[0].customdata.at(-1)}/index.html`;
});
gains?.on("plotly_afterplot", () => (gains.style.height = `${gains.layout.height}px`)); // the menu changes it
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
