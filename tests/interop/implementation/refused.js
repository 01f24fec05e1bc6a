// Section 23: why something is refused. The reason is one of the document's words, or a sentence where it has none.

export class Refused extends Error {
  constructor (reason) {
    super(reason)
    this.reason = reason
  }
}
