/** One step of the schema. Numbers have no gap; a released migration is never changed, the next one mends it. */
export type Migration = Readonly<{ number: number; name: string; statements: readonly string[] }>
