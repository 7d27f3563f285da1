/**
 * Where alerts may be posted to: https, or http to the loopback of this host, written as an address or `localhost`; never with a name or
 * password in the URL. Pure: what a name's addresses are is judged when something is posted.
 */
const HTTPS = /^https:\/\/[^/?#@\s\\]+([/?#]\S*)?$/i
const LOOPBACK = /^https?:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?([/?#]\S*)?$/i

/** The URL says by its host that it is this host's own. */
export function isLoopbackUrl(url: string): boolean {
  return LOOPBACK.test(url)
}

export function isWebhook(url: string): boolean {
  return HTTPS.test(url) || isLoopbackUrl(url)
}
