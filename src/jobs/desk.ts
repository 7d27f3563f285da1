/** Where jobs meet something that comes later than they do and goes before them, such as the API. */
export class Desk<Host> {
  readonly #hosts = Promise.withResolvers<Host>()

  provide(host: Host): void {
    this.#hosts.resolve(host)
  }

  /** @throws the signal's reason */
  async host(signal: AbortSignal): Promise<Host> {
    signal.throwIfAborted()
    const gone = Promise.withResolvers<never>()
    const leave = (): void => gone.reject(signal.reason)
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await Promise.race([this.#hosts.promise, gone.promise])
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }
}
