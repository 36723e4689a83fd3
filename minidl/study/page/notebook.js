/* In a notebook, as the image's handler in one line: the page in a frame, in place of the picture and the text. */
this.onload = null;
const still = this.closest(".minidl-still"), frame = document.createElement("iframe"),
  style = document.createElement("style"), ink = getComputedStyle(still).color.match(/^rgba?\((\d+)/),
  dark = ink !== null && Number(ink[1]) > 127; /* light letters: the notebook's theme, not the system's */
style.textContent = ".minidl-page { width: 100%; height: 640px; border: 0; } .minidl-still img { max-width: 100%; }"
  + " .minidl-page + .minidl-still { display: none; }"
  + " @media print { .minidl-page { display: none; } .minidl-page + .minidl-still { display: block; } }";
frame.className = "minidl-page";
frame.title = this.alt;
frame.srcdoc = this.dataset.page;
frame.onload = () => {
  const page = frame.contentDocument;
  page.documentElement.style.colorScheme = dark ? "dark" : "light";
  for (const sheet of page.styleSheets) for (const rule of sheet.cssRules)
    if (rule.media && rule.media.mediaText === "(prefers-color-scheme: dark)")
      rule.media.mediaText = dark ? "all" : "not all";
};
still.before(style, frame);
