// The only names from outside ECMAScript that the pure parts (base, domain, contract) may use. Only tsconfig.pure.json
// includes this file: adding a line here is a decision that a reviewer sees.
interface AbortSignal {
  readonly aborted: boolean
  readonly reason: unknown
  throwIfAborted(): void
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}
