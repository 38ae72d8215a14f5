/** Light or dark: the system's choice, until the owner changes it. */
import { effect, signal } from "@preact/signals";

type Choice = "system" | "light" | "dark";

const KEY = "openai_proxy.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const system = signal(dark.matches);
dark.addEventListener("change", (event) => {
  system.value = event.matches;
});

function stored(): Choice {
  try {
    const found = localStorage.getItem(KEY);
    return found === "light" || found === "dark" ? found : "system";
  } catch {
    return "system";
  }
}

export const theme = signal<Choice>(stored());
export const isDark = signal(false);

effect(() => {
  isDark.value = theme.value === "dark" || (theme.value === "system" && system.value);
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
});

export function choose(choice: Choice): void {
  theme.value = choice;
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // Without browser storage the choice lasts as long as the page.
  }
}
