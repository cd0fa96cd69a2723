// The page of the API: finds calls, opens the one that the address names, and sends the forms.

const root = document.body.dataset.root;

function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) {
    named.open = true;
    named.scrollIntoView();
  }
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll("[data-call]")) {
    item.hidden = !words.every((word) => item.dataset.call.includes(word));
  }
}

/** What a form describes: the address, and what fetch needs besides. */
function requestOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = new Headers();
  for (const input of form.querySelectorAll("input")) {
    if (input.dataset.in === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value && input.dataset.in === "query") query.append(input.name, input.value);
    else if (input.value) headers.set(input.name, input.value);
  }
  const body = form.querySelector("textarea")?.value.trim() || undefined;
  if (body) headers.set("content-type", "application/json");
  const asked = query.size ? `?${query}` : "";
  return [root + path.slice(1) + asked, { method: form.dataset.method, headers, body, cache: "no-store" }];
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function show(response, status, code) {
  const kind = response.headers.get("content-type") ?? "";
  status.textContent = `${response.status} ${response.statusText} ${kind}`.trim();
  if (!kind.startsWith("text/event-stream")) {
    code.textContent = indented(await response.text());
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    code.append(part.value);
    code.parentElement.scrollTop = code.parentElement.scrollHeight;
  }
}

async function send(form) {
  const output = form.querySelector("output");
  const [status, code] = [output.querySelector(".status"), output.querySelector("code")];
  const [sender, stop] = form.querySelectorAll("button");
  const stopping = new AbortController();
  status.textContent = "sent";
  code.textContent = "";
  output.hidden = stop.hidden = false;
  sender.disabled = true;
  stop.onclick = () => stopping.abort();
  try {
    const [address, options] = requestOf(form);
    await show(await fetch(address, { ...options, signal: stopping.signal }), status, code);
  } catch (error) {
    status.textContent += stopping.signal.aborted ? " (stopped)" : ` (broken: ${error.message})`;
  } finally {
    sender.disabled = false;
    stop.hidden = true;
  }
}

document.getElementById("search")?.addEventListener("input", (event) => find(event.target.value));
for (const form of document.querySelectorAll("form.try")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}
addEventListener("hashchange", openNamed);
openNamed();
