// Two things that pages are better with, and work without: times in the reader's zone, and what has changed.
"use strict";

const zone = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const utc = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC", timeZoneName: "short" });

function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    element.textContent = at.getTimezoneOffset() === 0 ? zone.format(at) : `${zone.format(at)} / ${utc.format(at)}`;
  }
}

// What a person is busy with is not taken out of his hands.
function busy(main) {
  const active = document.activeElement;
  return main.querySelector("input:checked") || (main.contains(active) && active !== main) || String(document.getSelection()) !== "";
}

// What somebody opened stays open, and what he scrolled stays where it was.
function swap(main, fresh) {
  const opened = new Set([...main.querySelectorAll("details[open]")].map((details) => details.dataset.name));
  const scrolled = new Map([...main.querySelectorAll(".scroll")].map((region) => [region.getAttribute("aria-label"), region.scrollLeft]));
  const [x, y] = [scrollX, scrollY];
  main.replaceChildren(...fresh.childNodes);
  for (const details of main.querySelectorAll("details")) details.open = opened.has(details.dataset.name);
  for (const region of main.querySelectorAll(".scroll")) region.scrollLeft = scrolled.get(region.getAttribute("aria-label")) ?? 0;
  scrollTo(x, y);
}

async function refresh(main, state) {
  if (busy(main)) return;
  const answer = await fetch(location.href, { headers: { "Sealq-Live": "1" }, cache: "no-store" });
  if (answer.status === 401) { location.reload(); return; }
  if (!answer.ok) throw new Error(`answered ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main[data-live]");
  if (!fresh || busy(main)) return;
  swap(main, fresh);
  localise(main);
  state.textContent = "";
}

// A browser asks again by itself where a stream breaks, and not where an error answers, as while the database is away.
function listen(main, state) {
  const stream = new EventSource("/live");
  const update = () => refresh(main, state).catch(() => { state.textContent = "Not up to date: no answer."; });
  stream.addEventListener("changed", update);
  stream.addEventListener("over", () => { stream.close(); location.reload(); });
  stream.addEventListener("error", () => {
    state.textContent = "Not up to date: the connection is lost.";
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => update().then(() => listen(main, state)), 5000);
  });
  stream.addEventListener("open", () => { if (state.textContent !== "") { state.textContent = ""; update(); } });
}

localise(document);
const main = document.querySelector("main[data-live]");
if (main) listen(main, document.getElementById("state"));
