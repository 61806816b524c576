// What a search shows of a page begins with its text, not with the page's buttons and its table of contents.
document.addEventListener('DOMContentLoaded', () => {
  if (typeof Search === 'undefined') return;
  const toText = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, 'text/html');
    page.querySelectorAll('.bd-header-article, #jb-print-docs-body, .prev-next-footer').forEach(part => part.remove());
    return toText(page.documentElement.outerHTML, anchor);
  };
});
