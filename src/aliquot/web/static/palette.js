/** Colours of queues, by number. 0 is free, 1 is work outside all queues. */

const LIGHT = ["#4263d6", "#dd7f27", "#1f9373", "#b94a9b", "#7d5fd3", "#b8900f", "#2b93b8", "#cf4f4f", "#5f8f2d",
  "#93603d", "#5a6fae", "#a84d72"];
const DARK = ["#6f8df5", "#ee9a4d", "#3cb893", "#d673b8", "#a08bf0", "#d9b43a", "#52b4d6", "#ec7a78", "#86b84f",
  "#c08b64", "#8ea1d8", "#d67fa1"];
const OUTSIDE = { light: "#8790a3", dark: "#79839a" };

let dark = false;

/** Whether the page is dark now; call again when the scheme changes. */
export function readScheme() {
  const chosen = document.documentElement.dataset.theme;
  dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return dark;
}

/** The colour of a queue's number (from 1). */
export function colour(number) {
  if (number <= 1) return dark ? OUTSIDE.dark : OUTSIDE.light;
  const colours = dark ? DARK : LIGHT;
  return colours[(number - 2) % colours.length];
}

/** Black or white, whichever reads better on the colour of a queue's number (relative luminance of WCAG 2). */
export function ink(number) {
  const parts = [1, 3, 5].map((at) => parseInt(colour(number).slice(at, at + 2), 16) / 255);
  const [red, green, blue] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.22 ? "#10141f" : "#ffffff";
}

/** A custom property of the page's style. */
export function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
