// Sets the chosen colours before anything is painted; a module would come too late for that.
(() => {
  try {
    const chosen = localStorage.getItem("waybill.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Without storage the page follows the system.
  }
})();
