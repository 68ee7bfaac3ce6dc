// The script of the site's pages: each part finds what it works on, and leaves the page alone where there is nothing.

import { drawFigures } from "./pages_figures.js";
import { offerPanels } from "./pages_live.js";
import { keepGuesses, answerQuizzes } from "./pages_forms.js";
import { openSearch } from "./pages_search.js";
import { switchTheme, followReading, scrollByKeyboard, openForPrint } from "./pages_reading.js";

export function start() {
  switchTheme();
  openSearch();
  answerQuizzes();
  keepGuesses();
  drawFigures();
  offerPanels();
  followReading();
  scrollByKeyboard();
  openForPrint();
}
