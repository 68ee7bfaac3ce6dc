// What a reader answers: the quiz, which says why, and guesses, which this browser keeps.

import { remember, remembered } from "./pages_reading.js";

export function answerQuizzes() {
  for (const quiz of document.querySelectorAll(".quiz")) {
    const questions = [...quiz.querySelectorAll("fieldset")];
    for (const question of questions) {
      for (const button of question.querySelectorAll("button")) {
        button.addEventListener("click", () => answer(quiz, questions, question, button));
      }
    }
  }
}

function answer(quiz, questions, question, button) {
  const reason = document.getElementById(button.getAttribute("aria-controls"));
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  reason.hidden = open;
  question.querySelector("[role=status]").textContent = open ? "" : reason.textContent;
  question.dataset.first ??= button.hasAttribute("data-right") ? "right" : "wrong";
  const first = questions.filter((each) => each.dataset.first);
  if (first.length < questions.length) return;
  const right = first.filter((each) => each.dataset.first === "right").length;
  quiz.querySelector(".score").textContent = `${right} of ${questions.length} right at the first try.`;
}

export function keepGuesses() {
  for (const form of document.querySelectorAll("form.guess")) {
    const name = `scdlab-guess: ${form.dataset.question}`;
    const note = form.querySelector(".note");
    const field = form.querySelector("input[type=text]");
    const chosen = () => [...form.querySelectorAll("input:checked")].map((each) => each.value);
    const before = remembered(name);
    if (before) note.textContent = `Your guess was: ${before}.`;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const number = field?.value.trim().replace(",", ".");
      const groups = form.querySelectorAll("fieldset").length;
      if (field && !(number && Number.isFinite(Number(number)))) {
        note.textContent = "Please write a number, such as 0.05.";
        field.focus();
        return;
      }
      if (chosen().length < groups) {
        note.textContent = field ? "Please say how sure you are, too." : "Please choose an answer, and say how sure you are.";
        return;
      }
      const said = [...(field ? [number] : []), ...chosen()].join(", ");
      note.textContent = remember(name, said)
        ? `Kept in this browser: ${said}. Read on: what follows has the answer.`
        : `Your guess: ${said}. This browser keeps nothing, so note it down; what follows has the answer.`;
    });
  }
}
