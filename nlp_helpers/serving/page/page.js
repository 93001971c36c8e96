// Three forms over the addresses of this server; nothing else is asked.

const MAX_SHOWN = 20; // lines of a file on the screen
const tokenField = document.querySelector("#token input");

async function ask(address, body) {
  const headers = { "Content-Type": "application/json" };
  if (tokenField.value) headers.Authorization = `Bearer ${tokenField.value}`;
  const response = await fetch(address, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (response.status === 401) document.querySelector("#token").hidden = false;
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function element(name, content = "", properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...[content].flat());
  return made;
}

// A row for each [name, share of 1], with a bar.
function bars(caption, header, rows) {
  const cells = ["th", "th", "th"].map((name, n) =>
    element(name, [header, "probability", ""][n], { scope: "col" }));
  const lines = rows.map(([name, share]) =>
    element("tr", [
      element("td", name),
      element("td", share.toFixed(3), { className: "number" }),
      element("td", element("meter", "", { value: share, title: share.toFixed(3) }),
        { className: "bar" }),
    ]));
  return element("table", [
    element("caption", caption), element("thead", element("tr", cells)),
    element("tbody", lines),
  ]);
}

// What cannot be seen at the ends of a token is shown as JSON writes it.
const quoted = (text) => JSON.stringify(text);

async function showNext(form, output) {
  const [answer] = await ask("text-generation", {
    inputs: form.text.value,
    parameters: { max_new_tokens: form.steps.valueAsNumber, details: true, top_n_tokens: 10 },
  });
  const [first] = answer.details.top_tokens;
  output.replaceChildren(
    element("pre", [form.text.value, element("strong", answer.generated_text)]),
    bars("Most probable next tokens", "token",
      first.map((token) => [quoted(token.text), Math.exp(token.logprob)])),
  );
}

async function showMask(form, output) {
  const candidates = await ask("fill-mask", {
    inputs: form.text.value,
    parameters: { top_k: form.count.valueAsNumber },
  });
  output.replaceChildren(
    element("pre", candidates[0].sequence),
    bars("Candidates for the mask", "token",
      candidates.map((candidate) => [candidate.token_str, candidate.score])),
  );
}

async function showLabel(form, output) {
  const [labels] = await ask("text-classification", { inputs: form.text.value });
  output.replaceChildren(
    bars(`Label: ${labels[0].label}`, "label", labels.map((each) => [each.label, each.score])));
}

// A spreadsheet takes a cell that begins so for a formula.
const cell = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;

async function labelFile(form) {
  const output = document.querySelector("#file-output");
  const bar = form.querySelector("progress");
  const [file] = form.file.files;
  if (!file) return;
  const lines = (await file.text()).split(/\r?\n/).filter((line) => line.trim());
  if (!lines.length) throw new Error(`${file.name} has no text; give one text a line`);
  const { max_client_batch_size: size } = await (await fetch("info", {
    headers: tokenField.value ? { Authorization: `Bearer ${tokenField.value}` } : {},
  })).json();
  bar.hidden = false;
  const rows = [];
  while (rows.length < lines.length) {
    const batch = lines.slice(rows.length, rows.length + size);
    const answers = await ask("text-classification", { inputs: batch });
    answers.forEach((labels, n) => rows.push([batch[n], labels]));
    bar.value = rows.length / lines.length;
  }
  bar.hidden = true;
  const names = rows[0][1].map((each) => each.label).sort();
  const score = (labels, name) => labels.find((each) => each.label === name).score;
  const csv = [
    ["text", "label", ...names].map(cell).join(","),
    ...rows.map(([text, labels]) => [
      cell(text), cell(labels[0].label), ...names.map((name) => score(labels, name)),
    ].join(",")),
  ].join("\r\n");
  const link = element("a", `Download ${rows.length} labelled lines`, {
    href: URL.createObjectURL(new Blob(["\ufeff", csv, "\r\n"], { type: "text/csv" })),
    download: `${file.name.replace(/\.\w+$/, "")}_labelled.csv`,
  });
  const shown = rows.slice(0, MAX_SHOWN).map(([text, labels]) =>
    element("tr", [element("td", text), element("td", labels[0].label),
      element("td", labels[0].score.toFixed(3), { className: "number" })]));
  const caption = rows.length > MAX_SHOWN ? `The first ${MAX_SHOWN}` : "All lines";
  output.replaceChildren(link, element("table", [element("caption", caption), element("tbody", shown)]));
}

function fail(output, error) {
  output.replaceChildren(element("p", error.message, { className: "error" }));
}

function select(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}

const shows = { next: showNext, mask: showMask, label: showLabel };
for (const [id, show] of Object.entries(shows)) {
  const form = document.getElementById(id);
  const output = form.querySelector("output");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector(".ask");
    button.disabled = true;
    try {
      await show(form, output);
    } catch (error) {
      fail(output, error);
    } finally {
      button.disabled = false;
    }
  });
  for (const example of form.querySelectorAll(".examples button")) {
    example.addEventListener("click", () => {
      form.text.value = example.textContent;
      form.requestSubmit();
    });
  }
}
const labelForm = document.getElementById("label");
labelForm.file.addEventListener("change", () =>
  labelFile(labelForm).catch((error) => fail(document.querySelector("#file-output"), error)));
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => select(tab));
}
select(document.getElementById(location.hash ? `tab-${location.hash.slice(1)}` : "tab-next")
  ?? document.getElementById("tab-next"));
