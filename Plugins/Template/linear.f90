! How much the loss rises, to first order, when latent j is removed at token t: -a * <g_t, W_dec[j]>. Knows nothing of dmsae:
! linear.yaml beside the shared object says what it is called with.
subroutine score(tokens, d, offsets, columns, activations, decoder, gradient, scores) bind(c)
    use iso_c_binding, only: c_int64_t, c_int32_t, c_float, c_double
    implicit none
    integer(c_int64_t), intent(in) :: tokens, d
    integer(c_int64_t), intent(in) :: offsets(0:tokens)
    integer(c_int32_t), intent(in) :: columns(0:*)
    real(c_float), intent(in) :: activations(0:*), decoder(d, 0:*), gradient(d, 0:tokens - 1)
    real(c_float), intent(out) :: scores(0:*)
    integer(c_int64_t) :: t, e

    do t = 0, tokens - 1
        do e = offsets(t), offsets(t + 1) - 1
            scores(e) = real(-activations(e) * sum(real(gradient(:, t), c_double) * decoder(:, columns(e))), c_float)
        end do
    end do
end subroutine
