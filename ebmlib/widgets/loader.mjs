/**
 * Brings the widgets of one built page to life: each module is imported once, from the
 * text that the page carries (so that it works from disk too), and each element gets a
 * small model object with the interface that anywidget's models have.
 */
(() => {
  const host = (state) => {
    const listeners = new Map();
    const heard = (event) => listeners.get(event) ?? listeners.set(event, new Set()).get(event);
    return {
      get: (name) => state[name],
      set(name, value) {
        if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
        state[name] = value;
        for (const callback of [...heard(`change:${name}`)]) callback();
      },
      on: (event, callback) => heard(event).add(callback),
      off: (event, callback) => heard(event).delete(callback),
      save_changes() {},
    };
  };

  const modules = new Map();
  const load = (name) => {
    if (!modules.has(name)) {
      const source = document.querySelector(`script[data-ebm-module="${name}"]`).textContent;
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(name, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(name);
  };

  const start = async (element) => {
    const module = await load(element.dataset.ebmWidget);
    const data = element.querySelector('script[type="application/json"]');
    const model = host(JSON.parse(data.textContent));
    const live = document.createElement("div");
    await module.default.render({ model, el: live });
    element.append(live);
    element.classList.add("ebm-live");
    element.ebmModel = model;
  };

  for (const element of document.querySelectorAll("[data-ebm-widget]")) {
    start(element).catch((error) => console.error("widget not started:", error));
  }
})();
