/** Streams that are open on the bytes of a resource, so that taking the access away ends them. */
export class OpenStreams {
  readonly #open = new Map<string, Set<AbortController>>()

  /** Runs `use` with a signal that aborts when the key's streams are ended. */
  async during<T>(key: string, use: (signal: AbortSignal, control: AbortController) => Promise<T>): Promise<T> {
    const control = new AbortController()
    const open = this.#open.get(key) ?? new Set()
    this.#open.set(key, open)
    open.add(control)
    try {
      return await use(control.signal, control)
    } finally {
      open.delete(control)
      if (open.size === 0 && this.#open.get(key) === open) this.#open.delete(key)
    }
  }

  end(key: string): void {
    for (const control of this.#open.get(key) ?? []) control.abort()
  }
}
