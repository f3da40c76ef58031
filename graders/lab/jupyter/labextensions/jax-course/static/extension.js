// A JupyterLab extension in plain JavaScript: what a build would make of it, without the build.
// JupyterLab loads this file, asks the container below for "./extension", and activates the plugin.
(() => {
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const asked = window.location.hash; // before JupyterLab opens anything

  const activate = (app) => {
    // Opens a file of the course, at the cell that a fragment such as "#cell-id=rescale" names.
    const open = async (path, fragment) => {
      const widget = await app.commands.execute("docmanager:open", { path });
      if (fragment) {
        await widget.context.ready;
        widget.setFragment(fragment);
      }
    };
    const url = `${config.baseUrl}course`;
    const leadsHome = (frame) => new URL(frame.src, window.location).pathname === url;
    const home = () => {
      for (const widget of app.shell.widgets("main")) {
        const frame = widget.node.querySelector("iframe");
        if (frame && leadsHome(frame)) {
          frame.src = url; // loads it anew
          return app.shell.activateById(widget.id);
        }
      }
      return app.commands.execute("help:open", { url, text: "Home" });
    };
    app.commands.addCommand("jax-course:home", { label: "Home", execute: home });
    // The frame of the home page is a sandbox without cookies. So it hands its links and forms over.
    window.addEventListener("message", async ({ data, source }) => {
      const frames = [...document.querySelectorAll("iframe")];
      const frame = frames.find((one) => one.contentWindow === source && leadsHome(one));
      if (frame && data.course === "open") {
        open(data.path, data.fragment);
      } else if (frame && data.course === "reset") {
        const body = new URLSearchParams(data.fields);
        frame.src = (await fetch(url, { method: "POST", body })).url;
      }
    });
    // JupyterLab itself looks for the fragment of an address before the notebook is there.
    app.restored.then(() => asked && config.treePath && open(config.treePath, asked));
  };

  const plugin = { id: "jax-course:plugin", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["jax-course"] = {
    init: () => undefined,
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
