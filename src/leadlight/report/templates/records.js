"use strict";
/* Example records, one at a time, in the record viewer. `Leadlight.records(element, list)`. */
Leadlight.records = (element, list) => {
  const { make } = Leadlight;
  const holder = make("div", { class: "viewer" });
  const why = make("p", { class: "small", role: "status" });
  const select = make("select", {}, list.map((one, at) => make("option", { value: at }, one.record.record_id)));
  const show = () => {
    const one = list[Number(select.value)];
    why.textContent = `Chosen by rule. ${one.why}.`;
    holder.replaceChildren();
    Leadlight.record(holder, one.record);
  };
  select.addEventListener("change", show);
  element.append(make("div", { class: "controls" }, make("label", {}, "Record ", select)), why, holder);
  show();
};
