// A real Chromium for tests, by Playwright, driven over HTTP on loopback: each
// POST is {page, op, ...} and answers {value} or {error}. RIG (JSON) says which
// browser and which port.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { port, bin, packages } = JSON.parse(process.env.RIG);
const { chromium } = createRequire(`${packages}/`)('playwright-core');

const browser = await chromium.launch({
  executablePath: bin,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    // Pages of others link to the world; nothing but this machine is there.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
  ],
});
const pages = new Map();
const patience = 15_000;

async function open({ noScript, width, height, dark }) {
  const context = await browser.newContext({
    javaScriptEnabled: !noScript, viewport: { width: width || 1024, height: height || 768 }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const said = [];
  page.on('console', (m) => { if (m.type() === 'error') said.push(`${page.url()}: ${m.text()}`); });
  const id = String(pages.size + 1);
  pages.set(id, { context, page, said });
  return id;
}

// control is the button or link that assistive technology calls so.
const control = (page, name) => page.getByRole('button', { name, exact: true }).or(page.getByRole('link', { name, exact: true }));

// focused says what has the keyboard.
const focused = (page) => page.evaluate(() => {
  const e = document.activeElement;
  if (!e || e === document.body || e === document.documentElement) return null;
  const style = getComputedStyle(e);
  return { name: (e.labels?.[0]?.textContent ?? e.textContent).trim(), seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
});

async function tabTo(page, name) {
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press('Tab');
    const at = await focused(page);
    if (at?.name === name) return at.seen ? '' : `${name} has the focus, and nothing shows it`;
  }
  return `Tab does not come to ${name}`;
}

const controlRoles = new Set(['button', 'link', 'textbox', 'checkbox', 'radio', 'combobox', 'searchbox', 'switch']);

// inspect lists what is wrong with how a page looks and can be operated.
async function inspect({ context, page }) {
  const wrong = [];
  const cdp = await context.newCDPSession(page);
  const { nodes } = await cdp.send('Accessibility.getFullAXTree');
  await cdp.detach();
  const controls = nodes.filter((n) => !n.ignored && controlRoles.has(n.role?.value));
  for (const n of controls) if (!n.name?.value?.trim()) wrong.push(`a ${n.role.value} has no name`);
  for (const role of ['main', 'heading']) if (!nodes.some((n) => n.role?.value === role)) wrong.push(`there is no ${role}`);
  wrong.push(...await page.evaluate(looks));
  // Every control is reached by Tab, each with a focus that is seen.
  const reached = new Set();
  await page.evaluate(() => document.activeElement?.blur());
  for (let i = 0; i < controls.length + 3; i++) {
    await page.keyboard.press('Tab');
    const at = await focused(page);
    if (!at) continue;
    reached.add(at.name);
    if (!at.seen) wrong.push(`${at.name}: the focus cannot be seen`);
  }
  for (const n of controls) if (!reached.has(n.name?.value?.trim())) wrong.push(`Tab does not reach ${n.name?.value}`);
  await page.evaluate(() => document.activeElement?.blur());
  return [...new Set(wrong)];
}

// looks runs in the page: contrast (WCAG 2.2, 1.4.3), nothing cut off, targets
// that a finger hits (2.5.8).
function looks() {
  const wrong = [];
  const colour = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const luminance = ({ r, g, b }) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c.a > 0.99) return c; }
    return { r: 255, g: 255, b: 255 };
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = texts.nextNode(); n; n = texts.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const [x, y] = [luminance(colour(style.color)), luminance(behind(e))];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${n.textContent.trim()}`);
    if (parseFloat(style.fontSize) < 13) wrong.push(`${style.fontSize}: ${n.textContent.trim()}`);
    const range = document.createRange();
    range.selectNodeContents(n);
    const box = range.getBoundingClientRect();
    if (box.left < 0 || box.right > innerWidth + 1) wrong.push(`cut off: ${n.textContent.trim()}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`${document.documentElement.scrollWidth} pixels wide in ${innerWidth}`);
  for (const e of document.querySelectorAll('a[href],button,input:not([type=hidden])')) {
    const box = e.getBoundingClientRect();
    if (box.height < 24 || box.width < 24) wrong.push(`${Math.round(box.width)}x${Math.round(box.height)} pixels to hit: ${e.textContent.trim()}`);
  }
  if (!document.title.trim()) wrong.push('no title');
  if (!document.documentElement.lang) wrong.push('no language');
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  return wrong;
}

const ops = {
  goto: async ({ page }, { text }) => { const r = await page.goto(text); return r?.status() ?? 0; },
  click: ({ page }, { text }) => control(page, text).click(),
  press: ({ page }, { text }) => page.keyboard.press(text),
  select: ({ page }, { text }) => page.locator(text).first().click(),
  fill: ({ page }, { text, value }) => page.getByLabel(text, { exact: true }).fill(value),
  fillAt: ({ page }, { text, value }) => page.locator(text).first().fill(value),
  type: ({ page }, { text }) => page.keyboard.type(text),
  tabTo: async ({ page }, { text }) => { const wrong = await tabTo(page, text); if (wrong) throw new Error(wrong); },
  awaitURL: ({ page }, { text }) => page.waitForURL((u) => u.href.startsWith(text), { waitUntil: 'load' }),
  await: ({ page }, { text }) => page.locator(text).first().waitFor(),
  text: ({ page }) => page.locator('body').innerText(),
  url: ({ page }) => page.url(),
  shot: ({ page }, { text }) => page.screenshot({ path: text, fullPage: true }).then(() => null),
  inspect,
  snapshot: ({ page }) => page.locator('body').ariaSnapshot(),
  cookies: ({ context }) => context.cookies(),
  said: ({ said }) => said.splice(0),
  // A module of its own for what only pages of others need.
  run: async (p, { text, value }) => (await import(text)).default(p, JSON.parse(value)),
  close: async (p) => { await p.context.close(); },
};

createServer((req, res) => {
  if (req.method !== 'POST') return res.end('ready');
  const parts = [];
  req.on('data', (part) => parts.push(part)).on('end', async () => {
    const q = JSON.parse(Buffer.concat(parts).toString());
    try {
      const value = q.op === 'open' ? await open(q) : await ops[q.op](pages.get(q.page), q);
      res.end(JSON.stringify({ value: value ?? null }));
    } catch (err) {
      const page = pages.get(q.page)?.page;
      const text = await page?.locator('body').innerText({ timeout: 1000 }).catch(() => '');
      res.end(JSON.stringify({ error: `${err.message}\nat ${page?.url()}\n${text}` }));
    }
  });
}).listen(port, '127.0.0.1');
