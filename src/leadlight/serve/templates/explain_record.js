"use strict";
/* Relevance on demand: asks the server to explain the record for one class, says that it is running,
   and shows the page again with the answer. data: {record_id, model, asks, can: [classes]}. */
Leadlight.explainRecord = (element, data) => {
  const { make } = Leadlight;
  if (!data.can.length) return;
  const said = make("p", { class: "pointed", role: "status" });
  const buttons = data.can.map((name) => make("button", { type: "button", onclick: () => ask(name) }, name));
  element.append(make("div", { class: "tools" },
    make("span", {}, "Explain it now for "), ...buttons), said);
  const again = () => {
    const to = new URL(location.href);
    to.searchParams.delete("explain");
    location.replace(to);
  };
  const ask = async (name) => {
    buttons.forEach((button) => { button.disabled = true; });
    const asked = `/api/explain?${new URLSearchParams({ id: data.record_id, class: name, model: data.model })}`;
    const began = Date.now();
    for (;;) {
      let response;
      try {
        response = await fetch(asked, { cache: "no-store" });
      } catch {
        said.textContent = "The server does not answer any more.";
        return;
      }
      if (response.status === 200) { again(); return; }
      const found = await response.json();
      if (response.status !== 202 && response.status !== 503) {
        said.textContent = `${found.error} ${found.advice}`;
        break;
      }
      const seconds = Math.round((Date.now() - began) / 1000);
      said.textContent = response.status === 202
        ? `Integrated gradients of ${name} are running in a process of their own: ${seconds} s.`
        : `${found.error} Waiting: ${seconds} s.`;
      await new Promise((done) => { setTimeout(done, 700); });
    }
    buttons.forEach((button) => { button.disabled = false; });
  };
  if (data.asks && data.can.includes(data.asks)) ask(data.asks);
};
