// Shows how far a job is while it goes on, and the whole page anew when it is at its end.
(() => {
  const place = document.getElementById("job");
  if (!place || !place.dataset.events) return;
  const events = new EventSource(place.dataset.events);
  events.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    if (!["queued", "running"].includes(job.state)) {
      events.close();
      location.reload();
      return;
    }
    if (!job.progress) return;
    const bar = document.createElement("progress");
    bar.max = job.progress.total;
    bar.value = job.progress.done;
    bar.setAttribute("aria-label", "Progress");
    const text = document.createElement("p");
    text.className = "note";
    const number = (n) => n.toLocaleString("en");
    text.textContent = `${number(job.progress.done)} of ${number(job.progress.total)} ${job.progress.unit}`;
    place.replaceChildren(bar, text);
  });
})();
