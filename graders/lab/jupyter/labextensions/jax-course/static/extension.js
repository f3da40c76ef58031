// A JupyterLab extension in plain JavaScript: what a build would make of it, without the build.
// JupyterLab loads this file, asks the container below for "./extension", and activates the plugin.
(() => {
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const asked = window.location.hash; // before JupyterLab opens anything
  const url = `${config.baseUrl}course`;
  const SEEN = "jax-course:contents-shown"; // in the browser's storage

  const activate = (app) => {
    const run = (command, args) => app.commands.execute(command, args);

    // Opens a file of the course, at the cell that a fragment such as "#cell-id=rescale" names.
    const open = async (path, fragment) => {
      const widget = await run("docmanager:open", { path });
      if (fragment) {
        await widget.context.ready;
        widget.setFragment(fragment);
      }
    };

    // Shows one of the course's own pages in JupyterLab's theme, anew if it is there already.
    const addressOf = (frame) => new URL(frame.src, window.location);
    const isDark = () => document.body.dataset.jpThemeLight === "false";
    const show = (page, notebook, text) => {
      const query = new URLSearchParams({ ...notebook, theme: isDark() ? "dark" : "light" });
      const address = `${url}${page}?${query}`;
      for (const widget of app.shell.widgets("main")) {
        const frame = widget.node.querySelector("iframe");
        const there = frame && addressOf(frame);
        const same = there?.searchParams.get("notebook") === (notebook.notebook ?? null);
        if (there?.pathname === url + page && same) {
          frame.src = address;
          return app.shell.activateById(widget.id);
        }
      }
      return run("help:open", { url: address, text });
    };
    const home = () => show("", {}, "Home");

    // The notebook in front, if it is one.
    const notebook = () => {
      const panel = app.shell.currentWidget;
      return panel?.content?.widgets && panel.sessionContext ? panel : null;
    };

    const validate = async () => {
      const panel = notebook();
      await panel.context.save();
      const { path } = panel.context;
      return show("/validate", { notebook: path }, `Validate ${path.split("/").pop()}`);
    };

    // Runs the answer that the cursor is in, or above it, and all up to its last check.
    const check = async () => {
      const { content, sessionContext } = notebook();
      await sessionContext.ready;
      await sessionContext.session?.kernel?.info; // before that, JupyterLab drops what is to be run
      const marks = content.widgets.map((cell) => cell.model.getMetadata("nbgrader") ?? {});
      const isAnswer = (i) => marks[i].solution && !marks[i].grade;
      let answer = content.activeCellIndex;
      while (answer >= 0 && !isAnswer(answer)) answer -= 1;
      if (answer < 0) return;
      let last = answer;
      for (let i = answer + 1; i < marks.length && !isAnswer(i); i += 1) {
        if (marks[i].grade) last = i;
      }
      for (let i = answer; i <= last; i += 1) {
        if (content.widgets[i].model.type !== "code") continue;
        content.deselectAll();
        content.activeCellIndex = i;
        await run("notebook:run-cell");
      }
      content.deselectAll();
      content.activeCellIndex = answer;
      await content.scrollToItem(last, "smart");
      content.mode = "edit";
    };

    const isEnabled = () => notebook() !== null;
    app.commands.addCommand("jax-course:home", { label: "Home", execute: home });
    app.commands.addCommand("jax-course:check", {
      label: "Check Answer",
      caption: "Run this answer and its check",
      isEnabled,
      execute: check,
    });
    app.commands.addCommand("jax-course:validate", {
      label: "Validate",
      caption: "Run the whole notebook in a new kernel, and list what its checks find",
      isEnabled,
      execute: validate,
    });
    const keys = ["Accel Shift Enter"];
    app.commands.addKeyBinding({ command: "jax-course:check", keys, selector: ".jp-Notebook" });

    // The frames of the course's pages are sandboxes without cookies. So they hand over what
    // their links and forms ask for.
    window.addEventListener("message", async ({ data, source }) => {
      const frames = [...document.querySelectorAll("iframe")];
      const frame = frames.find((one) => one.contentWindow === source);
      const { pathname } = frame ? addressOf(frame) : {};
      if (pathname !== url && !pathname?.startsWith(`${url}/`)) return;
      if (data.course === "open") {
        open(data.path, data.fragment);
      } else if (data.course === "reset") {
        const body = new URLSearchParams(data.fields);
        frame.src = (await fetch(url, { method: "POST", body })).url;
      }
    });

    // "Home" in a lesson leads to the table of lessons, and here to the page with the progress.
    const leadsHome = (link) =>
      link?.textContent === "Home" && link.closest(".jp-MarkdownOutput") !== null;
    const follow = (event) => {
      if (leadsHome(event.target.closest?.("a"))) {
        event.preventDefault();
        event.stopPropagation();
        home();
      }
    };
    document.addEventListener("click", follow, { capture: true });

    app.restored.then(() => {
      if (!window.localStorage.getItem(SEEN)) {
        window.localStorage.setItem(SEEN, "yes");
        run("toc:show-panel");
      }
      // JupyterLab itself looks for the fragment of an address before the notebook is there.
      return asked && config.treePath && open(config.treePath, asked);
    });
  };

  const plugin = { id: "jax-course:plugin", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["jax-course"] = {
    init: () => undefined,
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
