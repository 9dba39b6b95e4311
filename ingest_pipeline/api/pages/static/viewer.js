// Comforts only: every page works without this file.

// "/" goes to the search field, unless somebody is writing.
document.addEventListener("keydown", (event) => {
  const field = document.querySelector("[data-search]");
  const busy = event.target.closest("input, textarea, select");
  if (event.key === "/" && field && !busy && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

// A double click sends a form once.
const AGAIN_MS = 3000;
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(() => delete form.dataset.sent, AGAIN_MS);
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// While a retry goes on, its part of the page is asked for again.
const watched = document.querySelector("[data-progress]");
const LOOK_AGAIN_MS = 3000;

async function refresh() {
  try {
    const answer = await fetch(watched.dataset.progress, { redirect: "error" });
    if (answer.ok) watched.innerHTML = await answer.text();
  } catch {
    return; // the link to look again is still there
  }
  if (watched.querySelector(".running")) setTimeout(refresh, LOOK_AGAIN_MS);
  else location.reload();
}

if (watched) setTimeout(refresh, LOOK_AGAIN_MS);
