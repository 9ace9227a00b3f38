// The page of `charlm sweep --html`.
"use strict";

find("#title").textContent = data.title;
find("#words").append(...data.words.map((words) => make("p", {}, words)));
find("#picture").append(make("img", {
  src: data.picture, alt: "The metric over the trials, over the trainings and over each setting",
}));
find("#trials").append(make("h2", {}, "Trials, the best first"),
  table(data.table.header, data.table.rows, data.table.left));
