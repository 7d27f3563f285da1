/** Reading parameters that came over the wire. What is not valid is refused by the error that the caller makes. */
import type { ServerError } from './errors.ts'

export type Refuse = (what: string) => ServerError

const TEXT_LENGTH_MAX = 1000

export type ParameterReader = Readonly<{
  fields: (params: unknown) => Record<string, unknown>
  /** A text that is not empty and of bounded length. */
  text: (value: unknown, what: string) => string
}>

export function parameterReader(refuse: Refuse): ParameterReader {
  return {
    fields: (params) => {
      if (typeof params !== 'object' || params === null) throw refuse('parameters')
      return params as Record<string, unknown>
    },
    text: (value, what) => {
      if (typeof value === 'string' && value !== '' && value.length <= TEXT_LENGTH_MAX) return value
      throw refuse(what)
    },
  }
}
