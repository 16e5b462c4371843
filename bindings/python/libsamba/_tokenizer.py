"""Text to tokens and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence, Union

from ._errors import NotFoundError
from ._ffi import NULL, call, ffi, lib, options, switch, take_error, token_array, token_list
from ._handle import Handle

if TYPE_CHECKING:
    from ._model import Model


class Tokenizer:
    """A model's tokenizer. Any thread; keeps its model. Without one in the model, or in the build,
    its calls raise `UnsupportedError`."""

    def __init__(self, model: "Model") -> None:
        self._model = model

    def encode(
        self, text: Union[str, bytes], *, parse_special: bool = False, add_special: bool = True
    ) -> List[int]:
        """The tokens of a text.

        Args:
            text: bytes need not be valid UTF-8: byte-level tokenizers keep them.
            parse_special: special tokens written in the text become tokens. Leave it off for text
                from users.
            add_special: add what the tokenizer puts around a text (BOS).
        """
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        o = options(
            "samba_tokenize_options",
            parse_special=switch(parse_special),
            add_special=switch(add_special),
        )
        n = ffi.new("size_t *")
        capacity = len(raw) + 16  # a token has a byte or more, those around it aside
        tokens = ffi.new("samba_token[]", capacity)
        call(
            lib.samba_tokenize, self._model._open(), raw, len(raw), o, tokens, capacity, n
        )
        return token_list(tokens, n[0])

    def decode_bytes(
        self, tokens: Sequence[int], *, skip_special: bool = False, continues: bool = False
    ) -> bytes:
        """The bytes of a run of tokens.

        Args:
            skip_special: special tokens give no text.
            continues: text goes before the first token, so that the space in front of it counts.
        """
        o = options(
            "samba_detokenize_options",
            skip_special=switch(skip_special),
            continues=switch(continues),
        )
        array = token_array(tokens)
        size = ffi.new("size_t *")
        model = self._model._open()
        call(lib.samba_detokenize, model, array, len(array), o, NULL, 0, size)
        out = ffi.new("char[]", max(1, int(size[0])))
        call(lib.samba_detokenize, model, array, len(array), o, out, size[0], size)
        return bytes(ffi.buffer(out, size[0]))

    def decode(
        self, tokens: Sequence[int], *, skip_special: bool = False, continues: bool = False
    ) -> str:
        """The text of a run of tokens; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens, skip_special=skip_special, continues=continues).decode(
            "utf-8", "replace"
        )

    def find(self, text: Union[str, bytes]) -> int:
        """The id of the token whose vocabulary entry (special tokens included) is `text`.

        Raises:
            NotFoundError: there is none.
        """
        raw = text.encode() if isinstance(text, str) else text
        token = ffi.new("samba_token *")
        call(lib.samba_token_find, self._model._open(), raw, len(raw), token)
        return int(token[0])

    def __contains__(self, text: Union[str, bytes]) -> bool:
        try:
            self.find(text)
        except NotFoundError:
            return False
        return True

    def is_special(self, token: int) -> bool:
        """Whether it is a special (control) token."""
        return bool(lib.samba_token_is_special(self._model._open(), token))


class Detokenizer(Handle):
    """Tokens to text one by one: the first bytes of a character wait for the rest.

    One thread at a time. Arguments as for `Tokenizer.decode_bytes`.
    """

    def __init__(
        self, model: "Model", *, skip_special: bool = False, continues: bool = False
    ) -> None:
        o = options(
            "samba_detokenize_options",
            skip_special=switch(skip_special),
            continues=switch(continues),
        )
        made = ffi.new("samba_detokenizer **")
        call(lib.samba_detokenizer_create, model._open(), o, made)
        super().__init__(made[0], lib.samba_detokenizer_free)
        self._text: Any = ffi.new("char **")
        self._size: Any = ffi.new("size_t *")
        self._error: Any = ffi.new("samba_error **")

    def push(self, token: int) -> str:
        """The whole characters that this token completes, maybe none."""
        with self._lock:
            return self._push(token)

    def _push(self, token: int) -> str:
        """Runs once per token, with the lock of whoever owns it held."""
        if lib.samba_detokenizer_push(self._open(), token, self._text, self._size, self._error):
            raise take_error(self._error)
        return self._taken()

    def _taken(self) -> str:
        n = self._size[0]
        if not n:
            return ""
        # The characters are whole, but a byte that can't begin one comes out as it is.
        piece: str = ffi.unpack(self._text[0], n).decode("utf-8", "replace")
        return piece

    def flush(self) -> str:
        """What is still held back (an incomplete character, as U+FFFD), and start anew."""
        with self._lock:
            call(lib.samba_detokenizer_flush, self._open(), self._text, self._size)
            return self._taken()
