"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text; // texts of documents are never read as HTML
  if (kind) one.className = kind;
  return one;
};
const drawn = (tag, attributes, text) => {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  if (text !== undefined) one.textContent = text;
  return one;
};
const ms = (value) => (value < 0.1 ? value.toFixed(3) : value < 10 ? value.toFixed(2) : value.toFixed(0)) + " ms";
let about = null, chosen = 0, asked = "", turn = 0;

async function told(path) {
  const answer = await fetch(path);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

function paint(side, found, others, judged) {
  const box = $(side), list = box.querySelector("ol"), figures = box.querySelector(".figures");
  list.replaceChildren();
  if (!found) {
    const { state, problem } = about.teacher;
    figures.textContent = state === "failed" ? "Not available: " + problem : "Loading; search again in a moment.";
    return;
  }
  figures.textContent = `Query to vector ${ms(found.encode_ms)}, exact search ${ms(found.search_ms)}`;
  const ranks = new Map((others ? others.results : []).map((one, place) => [one.id, place]));
  found.results.forEach((one, place) => {
    const item = make("li");
    if (judged && one.grade > 0) item.classList.add("relevant");
    item.append(make("span", place + 1, "rank"), make("span", one.title || one.id, "title"), make("span", one.score.toFixed(3), "score"));
    item.append(make("p", one.text, "text"));
    const marks = make("p", undefined, "marks");
    if (judged && one.grade !== null) marks.append(make("span", one.grade > 0 ? `✓ relevant (${one.grade})` : "judged not relevant", one.grade > 0 ? "up" : "same"));
    if (others) {
      const there = ranks.get(one.id);
      if (there === undefined) {
        item.classList.add("other");
        marks.append(side === "student" ? make("span", "new: not in the teacher’s ten", "up") : make("span", "missing from the student’s ten", "down"));
      } else if (side === "student") {
        const moved = there - place;
        marks.append(moved ? make("span", `${moved > 0 ? "↑" : "↓"} ${Math.abs(moved)} (teacher’s ${there + 1})`, moved > 0 ? "up" : "down") : make("span", "same place", "same"));
      }
    }
    if (marks.childNodes.length) item.append(marks);
    list.append(item);
  });
}

async function search(query, remember = true) {
  asked = query.trim();
  if (!asked || !about) return;
  const mine = ++turn;
  $("query").value = asked;
  if (remember) history.pushState(null, "", `?q=${encodeURIComponent(asked)}&s=${chosen}`);
  $("status").textContent = "Searching…";
  try {
    if (about.teacher.state === "loading") about = await told("compare/about");
    const found = await told(`compare/search?q=${encodeURIComponent(asked)}&s=${chosen}`);
    if (mine !== turn) return; // a later search has begun
    $("teacher-name").textContent = "Teacher: " + about.teacher.name;
    $("student-name").textContent = "Student: " + about.students[chosen].name;
    paint("teacher", found.teacher, found.student, found.judged);
    paint("student", found.student, found.teacher, found.judged);
    $("results").hidden = false;
    const said = [];
    if (found.teacher) {
      const ours = new Set(found.student.results.map((one) => one.id));
      const shared = found.teacher.results.filter((one) => ours.has(one.id)).length;
      said.push(`${shared} of ${found.teacher.results.length} documents in both lists`);
      const faster = found.teacher.encode_ms / found.student.encode_ms;
      if (faster >= 1.5) said.push(`this query’s vector ${faster.toFixed(0)} times sooner from the student`);
    }
    said.push(found.judged ? `judged query, ${found.relevant} relevant` : "no judgments for this query");
    $("status").textContent = said.join("; ") + ".";
  } catch (error) {
    if (mine === turn) $("status").textContent = "The search failed: " + error.message;
  }
}

function choose(place) {
  chosen = place;
  document.querySelectorAll("#switch button").forEach((one, n) => one.setAttribute("aria-pressed", String(n === place)));
  plot();
  examples();
  if (asked) search(asked);
}

function examples() {
  const one = about.students[chosen];
  $("examples-told").textContent = one.wins.length + one.losses.length
    ? `Judged queries with the largest differences of ${about.measure}, teacher’s and then student’s.`
    : "There are no judged queries with a difference.";
  for (const [id, rows] of [["wins", one.wins], ["losses", one.losses]]) {
    $(id).replaceChildren(...rows.map((row) => {
      const item = make("li"), button = make("button", row.text);
      button.type = "button";
      button.append(make("small", `${row.teacher.toFixed(2)} → ${row.student.toFixed(2)}`));
      button.addEventListener("click", () => { search(row.text); $("results").scrollIntoView({ block: "start" }); });
      item.append(button);
      return item;
    }));
  }
}

function plot() {
  const points = [{ ...about.teacher, teacher: true }, ...about.students.map((one, place) => ({ ...one, place }))]
    .filter((one) => one.value !== null && one.ms);
  $("plot").replaceChildren();
  $("plot-told").textContent = points.length
    ? `${about.measure} with its 95 % interval, against milliseconds from a query’s text to its vector (p50, one thread).`
    : "These runs measured no cost, so there is no plot.";
  if (!points.length) return;
  const W = 480, H = 250, left = 50, right = 18, top = 14, bottom = 40;
  const lows = points.map((one) => one.low ?? one.value), highs = points.map((one) => one.high ?? one.value);
  const y0 = Math.floor(Math.min(...lows) * 20) / 20, y1 = Math.ceil(Math.max(...highs) * 20) / 20 || 1;
  const x0 = Math.floor(Math.log10(Math.min(...points.map((one) => one.ms)))), x1 = Math.ceil(Math.log10(Math.max(...points.map((one) => one.ms)) * 1.01));
  const x = (value) => left + ((Math.log10(value) - x0) / (x1 - x0 || 1)) * (W - left - right);
  const y = (value) => H - bottom - ((value - y0) / (y1 - y0 || 1)) * (H - top - bottom);
  const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": "Quality against query time" });
  for (let n = 0; n <= 4; n++) {
    const value = y0 + ((y1 - y0) * n) / 4;
    svg.append(drawn("line", { x1: left, x2: W - right, y1: y(value), y2: y(value), class: "axis" }));
    svg.append(drawn("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)));
  }
  for (let power = x0; power <= x1; power++) {
    svg.append(drawn("text", { x: x(10 ** power), y: H - bottom + 20, "text-anchor": "middle" }, `${+(10 ** power).toPrecision(1)} ms`));
  }
  for (const one of points) {
    const kind = one.teacher ? "teacher" : "student" + (one.place === chosen ? " on" : "");
    const name = `${one.name}: ${one.value.toFixed(3)}, ${ms(one.ms)}`;
    const group = drawn("g", one.teacher ? { role: "img", "aria-label": name } : { role: "button", tabindex: 0, class: "point", "aria-label": name, "aria-pressed": String(one.place === chosen) });
    group.append(drawn("title", {}, name));
    if (one.low !== null) group.append(drawn("line", { x1: x(one.ms), x2: x(one.ms), y1: y(one.low), y2: y(one.high), class: "whisker " + kind }));
    group.append(drawn("circle", { cx: x(one.ms), cy: y(one.value), r: 7, class: kind }));
    const far = x(one.ms) > W * 0.6;
    group.append(drawn("text", { x: x(one.ms) + (far ? -12 : 12), y: y(one.value) + 4, "text-anchor": far ? "end" : "start" }, one.name));
    if (!one.teacher) {
      group.addEventListener("click", () => choose(one.place));
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(one.place); document.querySelectorAll("#plot g.point")[one.place]?.focus(); }
      });
    }
    svg.append(group);
  }
  $("plot").append(svg);
}

function fromAddress() {
  const given = new URLSearchParams(location.search);
  const place = Number(given.get("s") || 0);
  if (Number.isInteger(place) && place >= 0 && place < about.students.length && place !== chosen) { asked = ""; choose(place); }
  if (given.get("q")) search(given.get("q"), false);
}

async function start() {
  try {
    about = await told("compare/about");
  } catch (error) {
    $("status").textContent = "The service does not answer: " + error.message;
    return;
  }
  $("about").textContent = ` · ${about.collection}, ${about.documents.toLocaleString("en")} documents`;
  $("switch").replaceChildren(...about.students.map((one, place) => {
    const item = make("li"), button = make("button", one.value === null ? one.name : `${one.name} · ${one.value.toFixed(3)}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(place === chosen));
    button.addEventListener("click", () => choose(place));
    item.append(button);
    return item;
  }));
  $("switch").hidden = about.students.length < 2;
  plot();
  examples();
  fromAddress();
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); search($("query").value); });
addEventListener("popstate", fromAddress);
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== $("query")) { event.preventDefault(); $("query").focus(); $("query").select(); }
});
start();
