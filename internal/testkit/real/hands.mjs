// The hands of somebody who follows written instructions on Keycloak's pages:
// what they touch is found by the words that the page shows, never by what its
// source calls it. Each deed answers {value} or {wrong}: no such words, more
// than one thing of that name, a control that is greyed out.
const patience = 15_000;
const hands = new WeakMap(); // page -> {chooser, kept}

function at(page) {
  if (!hands.has(page)) {
    const h = { chooser: null, kept: [] };
    // A file is chosen in a window of the browser's own, which opens by a button of the page.
    page.on('filechooser', (chooser) => { h.chooser = chooser; });
    hands.set(page, h);
  }
  return hands.get(page);
}

// until waits for a state that no locator can be waited for.
async function until(holds, wrong) {
  for (const end = Date.now() + patience; Date.now() < end; await new Promise((r) => { setTimeout(r, 50); })) {
    if (await holds()) return;
  }
  throw new Error(wrong);
}

// field is the part of a form that has this label.
const field = (page, label) => page.locator(':is(.pf-v5-c-form__group, .pf-v6-c-form__group)').filter({ has: page.locator('label').getByText(label, { exact: true }) });

// one is the one control of a role in a field, ready to be used.
async function one(page, label, role, options) {
  const control = field(page, label).getByRole(role, options);
  await control.first().waitFor().catch(() => { throw new Error(`there is no ${label} with a ${role}`); });
  if (await control.count() > 1) throw new Error(`${label} has ${await control.count()} controls of the kind ${role}`);
  await until(() => control.isEnabled(), `${label} is greyed out`);
  return control;
}

// keep notes what a form was told, to be looked at before the form is sent: a
// page that is still loading puts its own values over it.
async function keep(page, label, want, is) {
  const holds = async () => (await is()) === want;
  await until(holds, `${label} does not become ${want}`);
  at(page).kept.push(async () => { if (!(await holds())) throw new Error(`${label} was set to ${want}, and is ${await is()}`); });
}

// fill types, and types again where a page that was still loading has put its own
// value over it, as a person would who looks at the form.
async function fill(page, label, value) {
  const box = await one(page, label, 'textbox');
  const typed = async () => {
    if (await box.inputValue() === value) return true;
    await box.fill(value);
    return false;
  };
  await until(typed, `${label} does not become ${value}`);
  at(page).kept.push(() => until(typed, `${label} was set to ${value}, and does not stay so`));
}

async function set(page, label, value) {
  const box = await one(page, label, 'checkbox');
  // What is seen and pressed is the switch around the box.
  if (await box.isChecked() !== (value === 'On')) await box.locator('xpath=..').click();
  await keep(page, label, value, async () => (await box.isChecked() ? 'On' : 'Off'));
}

async function choose(page, label, value) {
  const list = await one(page, label, 'button', { expanded: false });
  await list.click();
  await page.getByRole('option', { name: value, exact: true }).click();
  const closed = await one(page, label, 'button', { expanded: false });
  await keep(page, label, value, async () => (await closed.innerText()).trim());
}

// only ticks one box of a field and no other.
async function only(page, label, value) {
  await field(page, label).getByRole('checkbox', { name: value, exact: true }).waitFor();
  const boxes = await field(page, label).getByRole('checkbox').all();
  for (const box of boxes) {
    const name = await box.evaluate((e) => e.labels[0].textContent.trim());
    if (await box.isChecked() !== (name === value)) await box.click();
  }
  await keep(page, label, value, async () => {
    const names = await field(page, label).getByRole('checkbox', { checked: true }).evaluateAll((l) => l.map((e) => e.labels[0].textContent.trim()));
    return names.join(', ');
  });
}

async function press(page, roles, name) {
  const named = roles.map((role) => page.getByRole(role, { name, exact: true })).reduce((a, b) => a.or(b)).filter({ visible: true });
  await named.first().waitFor().catch(() => { throw new Error(`there is no ${roles.join(' or ')} ${name}`); });
  // A menu and the way back above a heading may have the same link.
  const things = await named.evaluateAll((list) => new Set(list.map((e) => e.href || e)).size);
  if (things > 1) throw new Error(`${things} things are called ${name}`);
  for (const look of at(page).kept.splice(0)) await look();
  await named.first().click();
}

// confirmed waits until the page says what became of what was sent, and takes
// that message away, so that it is not read as the answer to something later.
async function confirmed(page) {
  const message = page.locator(':is(.pf-v5-c-alert, .pf-v6-c-alert)').filter({ has: page.getByRole('button', { name: /^Close\s+alert:/ }) }).first();
  await message.waitFor();
  const [text, kind] = [await message.innerText(), await message.getAttribute('class')];
  if (!kind.includes('m-success')) throw new Error(text);
  await message.getByRole('button').click();
  await until(async () => !(await page.getByText(text, { exact: true }).isVisible()), `${text} does not go away`);
  return text;
}

async function copy(context, page, label) {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const button = await one(page, label, 'button', { name: 'Copy to clipboard' });
  await page.evaluate(() => navigator.clipboard.writeText(''));
  await button.click();
  await until(() => page.evaluate(async () => (await navigator.clipboard.readText()) !== ''), `${label} is not copied`);
  return page.evaluate(() => navigator.clipboard.readText());
}

const deeds = {
  wide: (p, width) => p.page.setViewportSize({ width: Number(width), height: 800 }),
  open: (p, value) => p.page.goto(value).then(() => null),
  see: (p, label) => p.page.getByText(label, { exact: true }).filter({ visible: true }).first().waitFor(),
  press: (p, label) => press(p.page, ['button', 'link', 'menuitem', 'checkbox', 'listitem'], label),
  tab: (p, label) => press(p.page, ['tab'], label),
  fill: (p, label, value) => fill(p.page, label, value),
  becomes: async (p, label, value) => { const box = await one(p.page, label, 'textbox'); await keep(p.page, label, value, () => box.inputValue()); },
  set: (p, label, value) => set(p.page, label, value),
  choose: (p, label, value) => choose(p.page, label, value),
  only: (p, label, value) => only(p.page, label, value),
  copy: (p, label) => copy(p.context, p.page, label),
  attach: async (p, path) => { await until(() => at(p.page).chooser, 'no window to choose a file is open'); await at(p.page).chooser.setFiles(path); at(p.page).chooser = null; },
  confirmed: (p) => confirmed(p.page),
};

export default async function act(p, { op, label, value }) {
  at(p.page);
  try {
    return { value: (await (label ? deeds[op](p, label, value) : deeds[op](p, value))) ?? '' };
  } catch (err) {
    const shown = await p.page.locator('body').ariaSnapshot({ timeout: 1000 }).catch(() => '');
    return { wrong: `${err.message}\nat ${p.page.url()}\n${shown}` };
  }
}
