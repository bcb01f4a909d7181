
// The entries are there without this; it lets them be searched and sorted.
const form = document.querySelector("form");
const status = document.querySelector("output");
const collator = new Intl.Collator(undefined, { numeric: true });

const plain = (text) => text.normalize("NFC").toLowerCase();

const entries = [...document.querySelectorAll("article")].map((article, number) => ({
    article,
    number,
    words: plain([...article.querySelectorAll("h2, li > span, p")].map((part) => part.textContent).join("\n")),
    name: article.querySelector("h2").textContent,
    id: article.dataset.best ?? "",
    best: article.querySelector("li > span")?.textContent ?? "",
    probability: Number(article.dataset.probability ?? -1),
    failed: article.querySelector(".error") !== null,
    warned: article.querySelector(".warning") !== null,
}));
const failures = entries.filter((entry) => entry.failed).length;

const main = document.createElement("main");
main.append(...entries.map((entry) => entry.article));
document.querySelector("header").after(main);
const complete = document.querySelector("footer") !== null;

const orders = {
    number: (a, b) => a.number - b.number,
    probable: (a, b) => b.probability - a.probability || a.number - b.number,
    // What has no class comes last in every order but the pictures' own.
    improbable: (a, b) => (a.id === "") - (b.id === "") || a.probability - b.probability || a.number - b.number,
    class: (a, b) => (a.id === "") - (b.id === "") || collator.compare(a.best, b.best) || orders.probable(a, b),
    name: (a, b) => collator.compare(a.name, b.name) || a.number - b.number,
};

function listClasses() {
    const found = new Map();
    for (const { id, best } of entries) {
        if (id !== "") found.set(id, { best, count: (found.get(id)?.count ?? 0) + 1 });
    }
    const sorted = [...found].sort(([, a], [, b]) => collator.compare(a.best, b.best));
    const names = sorted.map(([, { best }]) => best);
    for (const [id, { best, count }] of sorted) {
        // Two classes may have one name.
        const shown = names.indexOf(best) === names.lastIndexOf(best) ? best : `${best}, ${id}`;
        form.elements.best.add(new Option(`${shown} (${count})`, id));
    }
}

function filter() {
    const words = plain(form.elements.words.value).split(/\s+/).filter((word) => word !== "");
    const best = form.elements.best.value;
    const least = Number(form.elements.least.value) / 100;
    const shown = form.elements.show.value;
    let count = 0;
    for (const entry of entries) {
        const fits = (shown === "" || (shown === "answered" ? !entry.failed : entry[shown]))
            && (best === "" || entry.id === best)
            && (least === 0 || entry.probability >= least)
            && words.every((word) => entry.words.includes(word));
        if (entry.article.hidden === fits) entry.article.hidden = !fits;
        count += fits;
    }
    status.textContent = `${count} of ${entries.length} pictures`
        + (failures > 0 ? `; ${failures} failed` : "")
        + (complete ? "" : "; the program did not come to its end, so there may have been more");
}

function sort() {
    const sorted = entries.toSorted(orders[form.elements.order.value]);
    main.append(...sorted.map((entry) => entry.article));
}

listClasses();
form.hidden = false;
form.addEventListener("input", (event) => (event.target.name === "order" ? sort() : filter()));
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => { filter(); sort(); }));
form.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.tagName !== "SELECT") form.reset();
});
filter();
if (form.elements.order.value !== "number") sort();
